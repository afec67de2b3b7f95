"""Wiring a host's ports: one contract, a pure plan, a fake and the Linux kernel. Never imports `fabric`."""

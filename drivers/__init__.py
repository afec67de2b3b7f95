"""Compute drivers: one contract (`contract.py`), several hypervisors. Never imports `fabric` or `netplug`."""

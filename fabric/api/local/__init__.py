"""The operator's own dialect, on the agent's local socket: what `fabric members` and friends ask."""

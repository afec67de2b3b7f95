"""Fabric: every machine runs one agent; together the agents are the cloud."""

__version__ = "0.1.0"

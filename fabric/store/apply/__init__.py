"""The handlers: one for each command, deterministic folds over rows. Importing this fills the registry."""

from fabric.store.apply import (
    aggregates,
    catalog,
    identity,
    images,
    limits,
    log,
    networks,
    nodes,
    ports,
    quotas,
    security_groups,
    server_groups,
    servers_act,
    servers_create,
    servers_host,
)
from fabric.store.apply.entry import Entry, Outcome, advance, apply_group

__all__ = [
    "Entry",
    "Outcome",
    "advance",
    "aggregates",
    "apply_group",
    "catalog",
    "identity",
    "images",
    "limits",
    "log",
    "networks",
    "nodes",
    "ports",
    "quotas",
    "security_groups",
    "server_groups",
    "servers_act",
    "servers_create",
    "servers_host",
]

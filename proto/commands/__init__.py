"""What may enter the log, one file per domain. Importing this package fills the registry."""

from proto.commands import (
    aggregates,
    catalog,
    identity,
    limits,
    log,
    networks,
    nodes,
    providers,
    quotas,
    server_groups,
    servers,
)
from proto.commands.base import (
    Command,
    Kinds,
    all_commands,
    command_from_plain,
    command_to_plain,
    decode_command,
    encode_command,
)

__all__ = [
    "Command",
    "Kinds",
    "aggregates",
    "all_commands",
    "catalog",
    "command_from_plain",
    "command_to_plain",
    "decode_command",
    "encode_command",
    "identity",
    "limits",
    "log",
    "networks",
    "nodes",
    "providers",
    "quotas",
    "server_groups",
    "servers",
]

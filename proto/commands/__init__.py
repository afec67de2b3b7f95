"""What may enter the log, one file per domain. They are read where commands are decoded, and each where it is
proposed: a host that joins needs few of them, and soon."""

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
    "all_commands",
    "command_from_plain",
    "command_to_plain",
    "decode_command",
    "encode_command",
]

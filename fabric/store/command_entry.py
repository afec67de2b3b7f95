"""What an entry of kind `command` holds: the leader's stamp, the request it serves, the command."""

from __future__ import annotations

from fabric.store.apply import Entry
from fabric.store.framing import hash_bytes
from proto.codec import pack, unpack
from proto.commands import Kinds, all_commands, decode_command
from proto.errors import WireError
from proto.ids import RequestId
from proto.raft import ENTRY_BYTES_MAX, LogEntry

REQUEST_ID_BYTES_MAX = 1_024
TIME_MS_MAX = 1 << 53  # what every table takes; a clock beyond it is wrong by 285,000 years
_KINDS = all_commands()
COMMAND_BYTES_MAX = ENTRY_BYTES_MAX - REQUEST_ID_BYTES_MAX - 32  # beside it: the stamp, and what holds them


def encode_command_entry(time_ms: int, request_id: RequestId, command: bytes) -> bytes:
    """`time_ms` is the leader's wall clock. Raises WireError: the request id or the command is too long."""
    if len(request_id.encode()) > REQUEST_ID_BYTES_MAX:
        raise WireError("too_large", f"request_id: at most {REQUEST_ID_BYTES_MAX} bytes")
    if len(command) > COMMAND_BYTES_MAX:
        raise WireError("too_large", f"command: at most {COMMAND_BYTES_MAX} bytes")
    return pack([time_ms, request_id, command], limit=ENTRY_BYTES_MAX)


def decode_command_entry(entry: LogEntry, *, not_before_ms: int, kinds: Kinds = _KINDS) -> Entry:
    """As it is applied. Stamps never go back, whatever a leader's clock did: one that would is
    `not_before_ms`, the stamp of the entry before, on every voter alike; nor are they beyond TIME_MS_MAX.

    Raises WireError for a command that is not one of `kinds`: apply halts, it never skips.
    """
    match unpack(entry.data, limit=ENTRY_BYTES_MAX):
        case [int(time_ms), str(request_id), bytes(command)]:
            return Entry(
                entry.index,
                min(max(time_ms, not_before_ms), TIME_MS_MAX),
                RequestId(request_id),
                hash_bytes(command),
                decode_command(command, kinds),
            )
    raise WireError("bad_field", f"entry {entry.index} holds no command")

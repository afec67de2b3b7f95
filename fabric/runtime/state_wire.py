"""Answers about the log as plain values, and errors back from them."""

from __future__ import annotations

from fabric.core.queries import Applied
from fabric.errors import CommandRejectedError, RemoteError
from proto.codec import Plain
from proto.errors import WireError
from proto.ids import LogIndex
from proto.records import to_wire

REJECTED_PREFIX = "fabric.rejected:"


def applied_to_plain(applied: Applied) -> Plain:
    return {"index": applied.index, "result": to_wire(applied.result), "replayed": applied.replayed}


def applied_from_plain(answer: Plain) -> Applied:
    """Raises WireError."""
    result = answer.get("result") if isinstance(answer, dict) else None
    if not isinstance(answer, dict) or not isinstance(result, dict):
        raise WireError("bad_field", "result: must be a map")
    return Applied(index_from_plain(answer), result, bool(answer.get("replayed")))


def index_from_plain(answer: Plain) -> LogIndex:
    """Raises WireError."""
    index = answer.get("index") if isinstance(answer, dict) else None
    if type(index) is not int or index < 0:
        raise WireError("bad_field", "index: must be a whole number")
    return LogIndex(index)


def rejection_of(error: RemoteError) -> CommandRejectedError | None:
    """What `apply` said at the other node; None for an error of another kind."""
    if not error.remote_code.startswith(REJECTED_PREFIX):
        return None
    return CommandRejectedError(error.remote_code.removeprefix(REJECTED_PREFIX), error.message)

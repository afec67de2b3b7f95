"""Questions to the log and its answers as plain values, and errors back from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric.core.queries import Applied
from fabric.errors import CommandRejectedError, DeadlineExceededError, FabricError, Outcome, RemoteError
from fabric.store.errors import StoreBusyError
from proto.codec import Plain
from proto.errors import WireError
from proto.ids import LogIndex
from proto.records import to_wire

REJECTED_PREFIX = "fabric.rejected:"


def request_id_from_plain(body: Mapping[str, Plain], *, chars_max: int) -> str:
    """Raises WireError."""
    request_id = body.get("request_id")
    if not isinstance(request_id, str) or not 0 < len(request_id) <= chars_max:
        raise WireError("bad_field", f"request_id: 1 to {chars_max} characters")
    return request_id


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


def error_of(error: RemoteError, not_done: Callable[[str], FabricError]) -> FabricError:
    """The rejection that it is, or that the store there is busy, which asking again at once only makes worse;
    else `not_done` of the message where nothing was done at the other node, and DeadlineExceededError where
    that is unknown."""
    rejected = rejection_of(error)
    if rejected is not None:
        return rejected
    if error.remote_code == StoreBusyError.code:
        return StoreBusyError(error.message)
    if error.outcome is Outcome.NOT_DONE:
        return not_done(error.message)
    return DeadlineExceededError(error.message)

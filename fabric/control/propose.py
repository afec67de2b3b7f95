"""Proposing on a caller's behalf: rejections become control errors, in one place."""

from __future__ import annotations

from fabric.control.context import Cloud
from fabric.control.errors import (
    ConflictError,
    ControlError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    QuotaError,
    UnavailableError,
)
from fabric.core.queries import Applied
from fabric.errors import CommandRejectedError, DeadlineExceededError, NoQuorumError, NotLeaderError
from proto.commands import Command
from proto.ids import RequestId

_ERROR_OF: dict[str, type[ControlError]] = {
    "not_found": NotFoundError,
    "invalid": InvalidError,
    "forbidden": ForbiddenError,
    "quota": QuotaError,
}


async def propose(cloud: Cloud, command: Command, *, request_id: RequestId) -> Applied:
    """Raises a ControlError for a rejection; `address_taken`, `mac_taken` and `stale` pass through as
    CommandRejectedError, for callers that choose again."""
    try:
        return await cloud.state.propose(command, request_id=request_id)
    except CommandRejectedError as error:
        if error.reason in ("address_taken", "mac_taken", "stale"):
            raise
        raise _ERROR_OF.get(error.reason, ConflictError)(error.message) from error
    except (NoQuorumError, NotLeaderError) as error:
        raise UnavailableError(
            "The fabric has no conductor right now; nothing was changed. Try again."
        ) from error
    except DeadlineExceededError as error:
        raise UnavailableError(
            "The fabric did not answer in time; the change may have been made. Look before you repeat it."
        ) from error

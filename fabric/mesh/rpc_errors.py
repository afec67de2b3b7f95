"""Errors to wire and back: a caller learns the same code and outcome wherever the handler ran."""

from __future__ import annotations

import logging

from fabric.errors import CommandRejectedError, FabricError, Outcome, RemoteError
from proto.rpc import CODE_CHARS_MAX, MESSAGE_CHARS_MAX

log = logging.getLogger(__name__)


def remote_error_of(error: Exception, method: str) -> RemoteError:
    """What the caller is told of a handler's exception. The unexpected is logged here, once, with its
    traceback, and crosses without its text: it may hold what is not the caller's business."""
    if isinstance(error, RemoteError):  # passed on from a third node
        return _bounded(error.remote_code, error.message, error.outcome)
    if isinstance(error, CommandRejectedError):
        return _bounded(f"{error.code}:{error.reason}", error.message, error.outcome)
    if isinstance(error, FabricError):
        return _bounded(error.code, str(error), error.outcome)
    log.error("rpc handler failed", extra={"method": method}, exc_info=error)
    return _bounded("fabric.internal", f"{method} failed unexpectedly; see that node's log", Outcome.UNKNOWN)


def _bounded(code: str, message: str, outcome: Outcome) -> RemoteError:
    return RemoteError(code[:CODE_CHARS_MAX], message[:MESSAGE_CHARS_MAX], outcome)

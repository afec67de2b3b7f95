"""Several objects in one request: all of them or none.

Each is a command of its own, so "none" means undoing those already made, in reverse. An undo that fails
(the fabric lost its conductor in between, say) leaves the object: it is visible and can be deleted.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from fabric.control.errors import ControlError
from fabric.runtime.hard_state import derive_request_id
from proto.ids import RequestId

log = logging.getLogger(__name__)

N = TypeVar("N")
T = TypeVar("T")


async def create_all(
    news: Sequence[N],
    request_id: RequestId,
    make: Callable[[N, RequestId], Awaitable[T]],
    undo: Callable[[T, RequestId], Awaitable[None]],
) -> list[T]:
    """What `make` made of each of `news`, in order. Raises what the first failing `make` raises."""
    made: list[T] = []
    try:
        for number, new in enumerate(news):
            made.append(await make(new, derive_request_id(request_id, f"bulk-{number}")))
    except ControlError:
        await _undo_all(made, request_id, undo)
        raise
    return made


async def _undo_all(
    made: Sequence[T], request_id: RequestId, undo: Callable[[T, RequestId], Awaitable[None]]
) -> None:
    for number, value in reversed(list(enumerate(made))):
        try:
            await undo(value, derive_request_id(request_id, f"bulk-undo-{number}"))
        except ControlError as error:
            log.warning("bulk create not undone", extra={"request_id": request_id, "error": error.code})

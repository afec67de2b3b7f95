"""Host operations must not be left running behind our back when their caller is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def unbroken(work: Coroutine[Any, Any, T], *, grace_s: float) -> T:
    """Awaits `work`; when cancelled, first lets it end for up to `grace_s`, then goes on being cancelled.

    A driver call runs in a thread that no cancellation reaches: if a delete started its own call while a
    build's call was still defining the domain, the domain would outlive its server.
    """
    task = asyncio.ensure_future(work)  # outside a group on purpose: it may outlive our cancellation
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait({task}, timeout=grace_s)
        if not task.done():
            task.cancel()
        elif not task.cancelled():
            task.exception()  # seen: the caller is gone
        raise

"""A part that ends takes the agent with it; one that is told to end may take its time, but not for ever."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from fabric import supervisor
from fabric.supervisor import PartFailedError, Supervisor


async def fails() -> None:
    raise ValueError("its own fault")


async def ends() -> None:
    return


async def runs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("work", "reason"), [(fails, "its own fault"), (ends, "by itself")])
async def test_a_part_that_ends_is_a_failure(work: object, reason: str) -> None:
    made = Supervisor()
    async with contextlib.AsyncExitStack() as stack:
        made.supervise(stack, "well", runs())
        made.supervise(stack, "ill", work())  # type: ignore[operator]
        await asyncio.wait_for(made.stop.wait(), 5)
    with pytest.raises(PartFailedError, match=f"ill ended: {reason}"):
        made.raise_failure()


async def test_the_first_failure_is_the_cause() -> None:
    made = Supervisor()
    made.raise_failure()
    made.fail("the disk")
    made.fail("what needs the disk")
    with pytest.raises(PartFailedError, match="the disk"):
        made.raise_failure()


async def test_an_ordered_stop_is_no_failure() -> None:
    made, closed = Supervisor(), asyncio.Event()

    async def until_closed() -> None:
        await closed.wait()

    async def close() -> None:
        closed.set()
        await asyncio.sleep(0)

    async with contextlib.AsyncExitStack() as stack:
        made.supervise(stack, "polite", until_closed(), close)
        made.supervise(stack, "plain", runs())
        await asyncio.sleep(0)
    made.raise_failure()
    assert not made.stop.is_set()


async def test_parts_that_will_not_end_hold_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "STOP_TIMEOUT_S", 0.05)
    monkeypatch.setattr(supervisor, "CANCEL_TIMEOUT_S", 0.05)
    release = asyncio.Event()

    async def deaf() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    made = Supervisor()
    async with asyncio.timeout(5):
        async with contextlib.AsyncExitStack() as stack:
            made.supervise(stack, "deaf", deaf(), runs)
            await asyncio.sleep(0)
    release.set()
    await asyncio.sleep(0)

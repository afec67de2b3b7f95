"""The event log: bounded, complete for those who keep up, harmless for those who do not."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from fabric.core.membership.model import MemberState
from fabric.runtime.events import EVENTS_KEPT_MAX, FOLLOWER_QUEUE_MAX, KINDS, EventLog

ROOT = Path(__file__).resolve().parents[3]


class Frozen:
    def monotonic_ms(self) -> int:
        return 0

    def wall_ms(self) -> int:
        return 1_700_000_000_123


def test_shape_of_an_event() -> None:
    log = EventLog(Frozen())
    log.add("member.alive", "h1", {"state": "alive", "time": "not mine to set"})
    assert log.recent()[0].as_json() == {
        "time": "2023-11-14T22:13:20.123Z",
        "event": "member.alive",
        "node": "h1",
        "state": "alive",
    }


def test_only_so_many_are_kept() -> None:
    log = EventLog(Frozen())
    for i in range(EVENTS_KEPT_MAX + 5):
        log.add("x", str(i))
    assert len(log.recent()) == EVENTS_KEPT_MAX
    assert log.recent()[0].node == "5"


async def test_following_starts_with_the_past_and_has_no_gap() -> None:
    log = EventLog(Frozen())
    log.add("x", "1")
    seen: list[str] = []

    async def follow() -> None:
        async for event in log.follow():
            seen.append(event.node)
            if len(seen) == 1:
                log.add("x", "2")
            if len(seen) == 2:
                return

    await asyncio.wait_for(follow(), 5)
    assert seen == ["1", "2"]


async def test_a_slow_follower_loses_the_oldest_and_holds_nobody_up() -> None:
    log = EventLog(Frozen())
    stream = log.follow()
    log.add("x", "first")
    assert (await anext(stream)).node == "first"
    for i in range(FOLLOWER_QUEUE_MAX + 10):
        log.add("x", str(i))
    assert (await anext(stream)).node == "10"
    await stream.aclose()  # type: ignore[attr-defined]


def test_every_kind_that_is_told_can_be_asked_for() -> None:
    """Kinds are literals in the files that have an `EventLog`, but for the two nouns with verbs from data."""
    nouns = "|".join(sorted({kind.partition(".")[0] for kind in KINDS}))
    told = {f"member.{state}" for state in MemberState}
    for path in (ROOT / "fabric").rglob("*.py"):
        text = path.read_text()
        if "import EventLog" in text:
            told |= set(re.findall(rf'"((?:{nouns})\.[a-z_]+)"', text))
            told |= {f"member.{verb}" for verb in re.findall(r'_add\(member, "([a-z_]+)"', text)}
    told |= {f"server.{verb}" for verb in ("start", "stop", "reboot_soft", "reboot_hard", "delete")}
    assert told - set(KINDS) == set()

"""Levels as members say them, the migrator of a shared database, and telling of a voter that halted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.core.queries import Applied
from fabric.core.voters.levels import LEVELS_LABEL, Levels
from fabric.errors import FabricError
from fabric.runtime import level_watch
from fabric.runtime.clock import SystemClock
from fabric.runtime.events import EventLog
from fabric.runtime.group_watch import GROUP_LABEL
from fabric.runtime.level_watch import HaltWatch, SharedLevelKeeper, levels_of
from fabric.store.errors import HaltedError
from proto.ids import LogIndex
from tests.fixtures.mesh_view_double import MeshDouble, member_named


def node(
    name: str, levels: str = "", *, uses_rows: bool = True, state: MemberState = MemberState.ALIVE
) -> Member:
    member = member_named(name, state=state)
    labels = {LEVELS_LABEL: levels} if levels else {}
    if uses_rows:
        labels[GROUP_LABEL] = "0"
    return replace(member, record=replace(member.record, labels=labels))


@dataclass
class Database:
    level: int = 1
    levels: Levels = field(default_factory=lambda: Levels(1, 2))
    raised: list[int] = field(default_factory=list)

    async def raise_level(self, to: int) -> Applied:
        self.raised.append(to)
        self.level = to
        return Applied(LogIndex(1), {})


@pytest.mark.parametrize(
    ("others", "raised"),
    [
        ([], [2]),
        ([node("a", "1-2"), node("b", "1-9")], [2]),
        ([node("a", "1-2"), node("b", "1-1")], []),
        ([node("a", "1-2"), node("b")], []),  # of a version that knows no levels
        ([node("b", "1-1", state=MemberState.HOST_DOWN)], []),  # it comes back with what it had
        ([node("b", "1-1", state=MemberState.FORGOTTEN)], [2]),
        ([node("b", "1-1", uses_rows=False)], [2]),  # a mere host
    ],
)
async def test_the_migrator_waits_for_all_that_use_the_database(
    others: list[Member], raised: list[int]
) -> None:
    database = Database()
    keeper = SharedLevelKeeper(database, MeshDouble([node("me", "1-1"), *others]))
    await keeper.look()
    await keeper.look()
    assert database.raised == raised


def test_a_member_that_says_nothing_is_of_before_levels() -> None:
    assert levels_of(node("a")) == Levels(1, 1)
    assert levels_of(node("a", "2-3")) == Levels(2, 3)


@dataclass
class Voter:
    halt: FabricError | None = None


async def test_a_halted_voter_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(level_watch, "HALT_LOOK_S", 0.001)
    told: asyncio.Queue[str] = asyncio.Queue()
    say: Callable[[str], None] = told.put_nowait
    voter, events = Voter(), EventLog(SystemClock())
    watching = asyncio.create_task(HaltWatch(voter, events, "h1", say).run())
    await asyncio.sleep(0)
    assert told.empty()
    voter.halt = HaltedError("entry 7 " + "x" * 500)
    async with asyncio.timeout(30):
        reason = await told.get()
    assert reason.startswith("entry 7 ")
    assert len(reason) == level_watch.HALTED_CHARS_MAX
    await asyncio.sleep(0)
    assert told.empty()
    watching.cancel()

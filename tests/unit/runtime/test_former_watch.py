"""Who was let go while nobody could tell it ends by itself; who is merely cut off does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.errors import PeerUnreachableError
from fabric.runtime import former_watch
from fabric.runtime.former_watch import FormerWatch
from proto.codec import Plain
from proto.ids import LogIndex, NodeId, Term, VoterId, voter_of
from tests.fixtures.peer_rpc_double import RpcDouble

ME, OTHER = voter_of(NodeId("a" * 32), "1"), voter_of(NodeId("b" * 32), "1")
CONDUCTOR = NodeId("b" * 32)


class Voter:
    me = ME
    leader_id: VoterId | None = None
    term = Term(4)
    applied_index = LogIndex(100)
    configuration = Configuration(frozenset({ME, OTHER}))


class Status(RpcDouble):
    """A conductor that tells this."""

    def __init__(self, **told: Any) -> None:
        super().__init__({})
        self.told: dict[str, Any] | None = {
            "leader": OTHER,
            "term": 5,
            "index": 120,
            "voters": [OTHER],
            "outgoing": [],
            "learners": [],
            **told,
        }

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        if self.told is None:
            raise PeerUnreachableError("no link")
        return self.told


def watch(voter: Voter, rpc: Status, ended: list[VoterId]) -> FormerWatch:
    async def end(gone: VoterId) -> None:
        ended.append(gone)

    return FormerWatch(voter, rpc, conductor=lambda: CONDUCTOR, end=end)


async def test_who_is_named_no_more_is_let_go() -> None:
    assert await watch(Voter(), Status(), []).is_let_go()


@pytest.mark.parametrize(
    "told",
    [
        {"voters": [OTHER, ME]},
        {"learners": [ME]},
        {"outgoing": [ME]},
        {"leader": ""},  # it does not know itself
        {"term": 3},  # of before
        {"index": 99},  # of before
        {"voters": []},
    ],
    ids=str,
)
async def test_whatever_leaves_a_doubt_keeps_the_voter(told: dict[str, Any]) -> None:
    assert not await watch(Voter(), Status(**told), []).is_let_go()


async def test_who_follows_somebody_asks_nobody() -> None:
    voter, rpc = Voter(), Status()
    voter.leader_id, rpc.told = OTHER, None
    assert not await watch(voter, rpc, []).is_let_go()


async def test_one_that_waits_for_its_first_entry_is_not_let_go() -> None:
    voter = Voter()
    voter.configuration = Configuration()
    assert not await watch(voter, Status(), []).is_let_go()


async def test_it_ends_after_looks_in_a_row_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former_watch, "LOOK_S", 0)
    rpc, ended, looks = Status(), list[VoterId](), 0
    former = watch(Voter(), rpc, ended)
    real = former.is_let_go
    answers = [True, True, False, True, True, True]

    async def look() -> bool:
        nonlocal looks
        looks += 1
        return answers[looks - 1] and await real() if looks <= len(answers) else False

    monkeypatch.setattr(former, "is_let_go", look)
    task = asyncio.create_task(former.run())
    async with asyncio.timeout(20):
        while not ended:
            await asyncio.sleep(0)
    task.cancel()
    assert (ended, looks) == ([ME], 6)

"""Voters with real rows compare them over the mesh; one whose rows were changed behind its back is found."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fabric.core.voters.digests import Judgement
from fabric.errors import RemoteError
from fabric.runtime import digest_watch
from fabric.runtime.clock import SystemClock
from fabric.runtime.digest_watch import DIGEST, DigestClock, DigestWatch, RowsDifferError
from fabric.runtime.voter_state import VoterState
from fabric.store.errors import StoreStoppedError
from fabric.store.sqlite import DATABASE
from proto.commands.log import LogCompare
from proto.ids import LogIndex, RequestId
from tests.fixtures.mesh_nodes import loopback_transports, until
from tests.fixtures.voter_nodes import PATIENCE_S, VoterNode, found, leader_of, put, voter_nodes


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest_watch, "LOOK_S", 0.02)
    monkeypatch.setattr(digest_watch, "ASK_S", 0.02)


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[VoterNode]]:
    async with voter_nodes(loopback_transports(), tmp_path, 3) as made:
        await found(*made)
        yield made


def watch(node: VoterNode) -> DigestWatch:
    return DigestWatch(node.engine, VoterState(node.engine, node.end.rpc, SystemClock()), node.end.rpc)


async def compare(*nodes: VoterNode) -> LogIndex:
    leader = await leader_of(*nodes)
    asked = await leader.engine.propose(LogCompare(), request_id=RequestId("q-compare"))
    for node in nodes:
        await until(lambda node=node: node.engine.digest(asked.index) is not None, PATIENCE_S)  # type: ignore[misc]
    return asked.index


def tamper(node: VoterNode) -> None:
    """As a bug, or a disk, might."""
    with closing(sqlite3.connect(node.folder / DATABASE)) as connection:
        connection.execute("UPDATE projects SET description = 'other' WHERE project_id = 'p1'")
        connection.commit()


async def test_what_is_written_behind_the_entry_does_not_count(nodes: list[VoterNode]) -> None:
    leader = await leader_of(*nodes)
    await put(1, *nodes)
    compared = asyncio.gather(
        leader.engine.propose(LogCompare(), request_id=RequestId("q-compare")),
        *(put(number, *nodes) for number in range(2, 60)),
    )
    index = (await compared)[0].index
    for node in nodes:
        await until(lambda node=node: node.engine.digest(index) is not None, PATIENCE_S)  # type: ignore[misc]
    assert len({node.engine.digest(index) for node in nodes}) == 1


async def test_voters_that_hold_the_same_agree(nodes: list[VoterNode]) -> None:
    watches = [watch(node) for node in nodes]
    await put(1, *nodes)
    index = await compare(*nodes)
    assert {await each.compare(index) for each in watches} == {Judgement.AGREES}
    for each in watches:
        each.close()


async def test_one_that_differs_stops_itself_and_the_others_go_on(nodes: list[VoterNode]) -> None:
    watches = [watch(node) for node in nodes]
    await put(1, *nodes)
    leader = await leader_of(*nodes)
    wrong = next(node for node in nodes if node is not leader)
    await wrong.engine.wait_applied(leader.engine.applied_index)
    tamper(wrong)
    index = await compare(*nodes)
    judged = await asyncio.gather(*(each.compare(index) for each in watches))
    assert [one for one, node in zip(judged, nodes, strict=True) if node is wrong] == [Judgement.DIFFERS]
    assert isinstance(wrong.engine.failure, RowsDifferError)
    with pytest.raises(StoreStoppedError):
        await wrong.engine.read_index()
    await put(2, *(node for node in nodes if node is not wrong))
    for each in watches:
        each.close()


async def test_the_watch_hears_of_the_entry_by_itself(nodes: list[VoterNode]) -> None:
    leader = await leader_of(*nodes)
    wrong = next(node for node in nodes if node is not leader)
    await put(1, *nodes)
    await wrong.engine.wait_applied(leader.engine.applied_index)
    tamper(wrong)
    watches = [watch(node) for node in nodes]
    tasks = [asyncio.create_task(each.run()) for each in watches]
    clock = asyncio.create_task(DigestClock(leader.engine, SystemClock()).run())
    try:
        await until(lambda: wrong.engine.failure is not None, PATIENCE_S)
    finally:
        for task in (*tasks, clock):
            task.cancel()
        await asyncio.gather(*tasks, clock, return_exceptions=True)
        for each in watches:
            each.close()


async def test_a_digest_is_for_members_and_of_the_voter_that_is_meant(nodes: list[VoterNode]) -> None:
    first, second, _ = nodes
    served = watch(second)
    body = {"voter_id": first.voter, "index": 1}
    with pytest.raises(RemoteError, match="does not live here"):
        await first.end.rpc.call(second.node_id, DIGEST, body, timeout_ms=5_000)
    served.close()

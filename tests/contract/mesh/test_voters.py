"""Voters that converse over each transport: what one said they all hold, whoever comes late or anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.store import voter_compaction
from tests.fixtures.mesh_nodes import MakeTransport, until
from tests.fixtures.voter_nodes import (
    PATIENCE_S,
    VoterNode,
    caught_up,
    change,
    found,
    names,
    numbered,
    put,
    voter_nodes,
)


@pytest.fixture
async def nodes(make_transport: MakeTransport, tmp_path: Path) -> AsyncIterator[list[VoterNode]]:
    async with voter_nodes(make_transport, tmp_path, 3) as made:
        yield made


async def test_three_voters_hold_the_same(nodes: list[VoterNode]) -> None:
    leader = await found(*nodes)
    await asyncio.gather(*(put(number, *nodes) for number in range(30)))
    for node in nodes:
        await caught_up(node, leader)
        assert await names(node) == numbered(30)


async def test_who_leads_goes_and_comes_back(nodes: list[VoterNode]) -> None:
    dead = await found(*nodes)
    await put(0, *nodes)
    await dead.stop()
    rest = [node for node in nodes if node is not dead]
    last = await put(1, *rest)
    await dead.start(Configuration())
    async with asyncio.timeout(PATIENCE_S):
        await dead.engine.wait_applied(last.index)
    assert await names(dead) == numbered(2)


async def test_a_newcomer_behind_the_cut_log_gets_the_tables(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_compaction, "COMPACT_ENTRIES", 20)
    monkeypatch.setattr(voter_compaction, "TRAIL_ENTRIES", 5)
    first, newcomer, _ = nodes
    await found(first)
    for number in range(60):
        await put(number, first, size=20_000)
    await newcomer.start(Configuration())
    await change({first.voter}, {newcomer.voter}, first)
    await put(60, first)
    await caught_up(newcomer, first)
    assert await names(newcomer) == numbered(61)
    await change({first.voter, newcomer.voter}, set(), first, newcomer)
    await put(61, first, newcomer)
    assert not newcomer.unfinished()
    await until(lambda: not first.unfinished())


async def test_a_lost_disk_comes_back_as_another_voter(nodes: list[VoterNode]) -> None:
    """And hears nothing that was meant for the one before."""
    leader = await found(*nodes)
    victim = next(node for node in nodes if node is not leader)
    former = victim.voter
    await victim.lose_disk()
    await victim.start(Configuration())
    await until(lambda: victim.end.board.dropped().get("wrong_voter", 0) > 0, PATIENCE_S)
    assert victim.engine.leader_id is None
    assert victim.engine.term == 0
    stayed = {node.voter for node in nodes if node is not victim}
    await change({*stayed, former}, {victim.voter}, *nodes)
    await put(0, *nodes)
    await change({*stayed, victim.voter}, set(), *nodes)
    last = await put(1, *nodes)
    async with asyncio.timeout(PATIENCE_S):
        await victim.engine.wait_applied(last.index)
    assert former not in victim.engine.configuration.members
    assert await names(victim) == numbered(2)

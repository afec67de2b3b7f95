"""A voter behind a channel is the voter that its agent would have inside, and more when the agent hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from fabric.core.identity.queries import ListProjects
from fabric.core.membership.record import node_id_of
from fabric.core.queries import AppliedEntry, Consistency
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.errors import CommandRejectedError, NotLeaderError, RemoteError
from fabric.mesh.contract import Transport
from fabric.mesh.curve import CurveKeyPair, new_curve_key_pair
from fabric.mesh.router_dealer import RouterDealer
from fabric.runtime import voter_process
from fabric.runtime.clock import SystemClock
from fabric.runtime.digest_watch import RowsDifferError
from fabric.runtime.state_wire import applied_from_plain
from fabric.runtime.voter_peers import MeshPeers
from fabric.runtime.voter_process import VoterNotOpenedError
from fabric.runtime.voter_proxy import VoterProcessError
from fabric.runtime.voter_state import PROPOSE
from fabric.runtime.voter_words import VoterPeer
from fabric.store import voter_compaction
from fabric.store.errors import SnapshotRefusedError, StoreFailedError, StoreStoppedError
from fabric.store.lock import DirectoryLock
from fabric.store.voter_engine import VoterEngine
from fabric.store.voter_id import known_voter_id, voter_here, voter_of
from proto.commands import command_to_plain
from proto.commands.identity import ProjectCreate
from proto.commands.log import LogCompare
from proto.ids import LogIndex, NodeId, ProjectId, RequestId, Term
from proto.raft import Heartbeat
from proto.raft_frames import RaftAddress
from tests.fixtures.mesh_nodes import RpcEnd, rpc_ends, until
from tests.fixtures.next_program import TWO
from tests.fixtures.store_world import DOMAIN, fabric_init
from tests.fixtures.voter_processes import ProcessNode

WAIT_S = 60.0


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[list[ProcessNode]]:
    """Three, whose agents know one another; voters start as the test says."""
    keys: list[CurveKeyPair] = []

    def make() -> tuple[NodeId, bytes, Transport]:
        keys.append(new_curve_key_pair())
        transport = RouterDealer(keys[-1], bind="tcp://127.0.0.1:0")
        return node_id_of(keys[-1].public), keys[-1].public, transport

    made: list[ProcessNode] = []

    def before(end: RpcEnd) -> None:
        made.append(ProcessNode(end, keys[-1], tmp_path))

    ends = await rpc_ends(make, 3, are_linked=False, before_start=before)
    try:
        yield made
    finally:
        for node in made:
            await node.stop()
        for end in ends:
            await end.close()


def project(number: int, size: int = 0) -> ProjectCreate:
    return ProjectCreate(
        project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}", description="x" * size
    )


async def put(node: ProcessNode, number: int, size: int = 0) -> None:
    await node.proxy.propose(project(number, size), request_id=RequestId(f"q{number}"))


async def names(node: ProcessNode) -> set[str]:
    return {found.name for found in await node.proxy.read(ListProjects())} - {"admin", "service"}


async def found(node: ProcessNode) -> None:
    await node.start(is_founder=True)
    await node.proxy.propose(fabric_init(), request_id=RequestId("q-init"))


async def group(nodes: list[ProcessNode]) -> None:
    """All vote, and the first leads."""
    await found(nodes[0])
    for node in nodes[1:]:
        await node.start()
    for node in nodes:
        node.know(*(other for other in nodes if other is not node))
    await vote(nodes[0], *nodes)


async def vote(leader: ProcessNode, *nodes: ProcessNode) -> None:
    wanted = Configuration(frozenset(node.voter for node in nodes))
    leader.proxy.change(wanted.voters)
    assert leader.proxy.is_changing
    await until(lambda: leader.proxy.configuration == wanted and not leader.proxy.is_changing, WAIT_S)


async def level(node: ProcessNode, other: ProcessNode) -> None:
    async with asyncio.timeout(WAIT_S):
        await node.proxy.wait_applied(other.proxy.applied_index)


async def test_a_write_is_told_and_there_to_be_read_when_it_is_answered(nodes: list[ProcessNode]) -> None:
    await found(nodes[0])
    told: list[AppliedEntry] = []
    nodes[0].proxy.subscribe(told.append)
    command = project(1)
    applied = await nodes[0].proxy.propose(command, request_id=RequestId("q1"))
    assert [(entry.index, entry.command, entry.applied) for entry in told] == [
        (applied.index, command, applied)
    ]
    assert nodes[0].proxy.applied_index >= applied.index
    assert await names(nodes[0]) == {"n1"}


async def test_a_replay_is_answered_as_one_and_told_to_nobody(nodes: list[ProcessNode]) -> None:
    await found(nodes[0])
    await put(nodes[0], 1)
    told: list[AppliedEntry] = []
    nodes[0].proxy.subscribe(told.append)
    again = await nodes[0].proxy.propose(project(1), request_id=RequestId("q1"))
    assert again.replayed
    assert told == []


async def test_a_rejection_crosses_with_its_reason(nodes: list[ProcessNode]) -> None:
    await found(nodes[0])
    await put(nodes[0], 1)
    with pytest.raises(CommandRejectedError) as refused:
        await nodes[0].proxy.propose(project(1), request_id=RequestId("q2"))
    assert refused.value.reason == "conflict"


async def test_rows_reach_the_index_of_entries_that_are_not_told(nodes: list[ProcessNode]) -> None:
    """Of a rejected command, for one: who reads linearizably waits for it."""
    await found(nodes[0])
    with pytest.raises(CommandRejectedError):
        await nodes[0].proxy.propose(fabric_init(), request_id=RequestId("q-init-2"))
    async with asyncio.timeout(WAIT_S):
        await nodes[0].proxy.read(ListProjects(), consistency=Consistency.LINEARIZABLE)


async def test_voters_in_processes_are_one_group(nodes: list[ProcessNode]) -> None:
    await group(nodes)
    await put(nodes[0], 1)
    for node in nodes[1:]:
        await level(node, nodes[0])
        assert await names(node) == {"n1"}
        assert node.proxy.leader_id == nodes[0].voter
        assert node.proxy.configuration == nodes[0].proxy.configuration
        with pytest.raises(NotLeaderError):
            await put(node, 2)
        assert node.proxy.lead_left_ms() is None
    await until(
        lambda: {(seen.lag, seen.hanging_ms) for seen in nodes[0].proxy.progress().values()} == {(0, 0)}
    )
    await until(lambda: bool(nodes[0].proxy.lead_left_ms()))


async def test_the_lead_goes_to_whom_it_is_handed(nodes: list[ProcessNode]) -> None:
    await group(nodes)
    heir = nodes[0].proxy.furthest_other()
    assert heir in {nodes[1].voter, nodes[2].voter}
    nodes[0].proxy.transfer(nodes[2].voter)
    await until(lambda: nodes[2].proxy.is_leader and not nodes[0].proxy.is_leader, WAIT_S)
    assert nodes[0].proxy.furthest_other() is None
    assert nodes[0].proxy.progress() == {}
    await put(nodes[2], 1)


async def test_the_leaders_process_answers_other_voters_without_its_agent(nodes: list[ProcessNode]) -> None:
    await group(nodes)
    nodes[0].fall_silent()
    await nodes[0].end.close()
    body = {"command": command_to_plain(project(1)), "request_id": "q1"}
    answer = await nodes[1].proxy.call(nodes[0].node_id, PROPOSE, body, timeout_ms=10_000)
    async with asyncio.timeout(WAIT_S):
        await nodes[1].proxy.wait_applied(applied_from_plain(answer).index)
    assert await names(nodes[1]) == {"n1"}


async def test_who_leads_beside_a_silent_agent_hands_the_lead_over(
    nodes: list[ProcessNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_process, "TICK_S", 0.02)
    monkeypatch.setattr("fabric.runtime.voter_proxy.BEAT_S", 0.02)
    await group(nodes)
    term = nodes[0].proxy.term
    nodes[0].fall_silent()
    await until(lambda: any(node.proxy.is_leader for node in nodes[1:]), WAIT_S)
    assert any(node.proxy.term > term for node in nodes[1:])


async def test_where_nothing_happens_both_hear_of_each_other(
    nodes: list[ProcessNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_process, "TICK_S", 0.01)
    await nodes[0].start()  # invited, and nobody has come yet: it neither leads nor hears
    channel, process = nodes[0].proxy._channel, nodes[0].child.process
    assert channel is not None
    heard, by_process = channel.heard, process._channel.heard
    await until(lambda: channel.heard >= heard + 2 and process._channel.heard >= by_process + 2, WAIT_S)


async def test_a_process_that_says_nothing_for_long_counts_as_dead(
    nodes: list[ProcessNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabric.runtime.voter_proxy.BEAT_S", 0.02)
    await nodes[0].start()
    for loop in nodes[0].child.process._loops:
        loop.cancel()
    async with asyncio.timeout(WAIT_S):
        assert isinstance(await nodes[0].failed, VoterProcessError)


async def test_what_cannot_be_opened_says_why(nodes: list[ProcessNode]) -> None:
    nodes[0].folder.mkdir()
    await asyncio.to_thread((nodes[0].folder / "log").write_text, "no directory")
    with pytest.raises(RemoteError, match=r"File exists|Not a directory") as refused:
        await nodes[0].start()
    assert refused.value.remote_code == VoterNotOpenedError.code
    assert not nodes[0].failed.done()  # who starts it knows


async def test_a_former_process_that_has_not_ended_yet_is_waited_for(nodes: list[ProcessNode]) -> None:
    nodes[0].folder.mkdir()
    lock = DirectoryLock(nodes[0].folder)
    lock.acquire()
    starting = asyncio.create_task(nodes[0].start())
    await until(lambda: hasattr(nodes[0].child, "process") and nodes[0].child.process._channel.heard > 0)
    assert not starting.done()
    lock.release()
    await starting


async def test_a_package_that_was_exchanged_under_the_agent_is_refused(nodes: list[ProcessNode]) -> None:
    nodes[0].software = "0.0.0"
    with pytest.raises(RemoteError, match="restart the agent"):
        await nodes[0].start()


async def test_a_node_that_may_vote_no_more_is_cut_off(nodes: list[ProcessNode]) -> None:
    await group(nodes)
    for node in nodes[1:]:
        node.proxy.know([gone(nodes[0])])
    await until(lambda: any(node.proxy.is_leader for node in nodes[1:]), WAIT_S)


def gone(node: ProcessNode) -> VoterPeer:
    return VoterPeer(node_id=node.node_id, endpoint="", curve_public=b"")


async def test_what_comes_by_the_agent_is_for_this_voter_alone(nodes: list[ProcessNode]) -> None:
    """A frame for a former disk, or in another's name, is dropped by the agent and never passed on."""
    await group(nodes)
    beat = Heartbeat(term=Term(99), commit_index=nodes[0].proxy.applied_index, round=1)
    relayed = nodes[0]._relayed
    assert relayed is not None
    nobody = voter_of(nodes[0].node_id, "ffffffff")
    for sender, to, reason in (
        (nodes[1].voter, nobody, "wrong_voter"),
        (nodes[2].voter, nodes[0].voter, "wrong_sender"),
    ):
        with pytest.raises(Exception, match=reason):
            relayed.check(nodes[1].node_id, RaftAddress(sender=sender, to=to, incarnation=1))
    relayed.check(nodes[1].node_id, RaftAddress(sender=nodes[1].voter, to=nodes[0].voter, incarnation=1))
    relayed.hear(nodes[1].voter, beat)  # an honest one is: the term moves
    await until(lambda: nodes[0].proxy.term >= 99, WAIT_S)


async def test_digests_are_known_at_the_next_look(nodes: list[ProcessNode]) -> None:
    await group(nodes)
    asked = await nodes[0].proxy.propose(LogCompare(), request_id=RequestId("q-compare"))
    for node in nodes:
        await level(node, nodes[0])
        await until(lambda node=node: node.proxy.digest(asked.index) is not None, WAIT_S)
    assert len({node.proxy.digest(asked.index) for node in nodes}) == 1


async def test_one_whose_rows_differ_is_disowned_and_fails(nodes: list[ProcessNode]) -> None:
    await group(nodes)
    voter_here(nodes[1].folder, nodes[1].node_id)
    nodes[1].proxy.stop(RowsDifferError("they differ"))
    async with asyncio.timeout(WAIT_S):
        error = await nodes[1].failed
    assert isinstance(error, RowsDifferError)
    assert known_voter_id(nodes[1].folder) is None
    with pytest.raises(StoreStoppedError):
        await nodes[1].proxy.read(ListProjects())


async def test_one_whose_disk_was_set_back_is_disowned_and_fails(nodes: list[ProcessNode]) -> None:
    """Its leader remembers what it acknowledged."""
    await group(nodes)
    voter_here(nodes[1].folder, nodes[1].node_id)
    beyond = LogIndex(nodes[0].proxy.applied_index + 100)
    relayed = nodes[1]._relayed
    assert relayed is not None
    await until(lambda: nodes[1].proxy.leader_id == nodes[0].voter, WAIT_S)
    relayed.hear(nodes[0].voter, Heartbeat(term=nodes[1].proxy.term, commit_index=beyond, round=1))
    async with asyncio.timeout(WAIT_S):
        error = await nodes[1].failed
    assert isinstance(error, PromiseForgottenError)
    assert known_voter_id(nodes[1].folder) is None


async def test_the_level_is_raised_through_the_channel(nodes: list[ProcessNode]) -> None:
    nodes[0].child.program = TWO
    await found(nodes[0])
    proxy = nodes[0].proxy
    assert (proxy.levels, proxy.level) == (TWO.levels, 1)
    told: list[int] = []
    proxy.subscribe(lambda entry: told.append(proxy.level))
    await proxy.raise_level(2)
    assert proxy.level == 2
    assert told == [2], "who hears of the entry finds the level raised"
    with pytest.raises(CommandRejectedError):
        await proxy.raise_level(2)


async def test_a_voter_that_has_halted_says_why_and_can_be_read(nodes: list[ProcessNode]) -> None:
    """It is left behind by force: the autopilot would have waited for it."""
    leader, behind, third = nodes
    for node in (leader, third):
        node.child.program = TWO
    await group(nodes)
    await put(leader, 1)
    waits = asyncio.create_task(behind.proxy.wait_applied(LogIndex(leader.proxy.applied_index + 1_000)))
    raised = await leader.proxy.raise_level(2)
    await put(leader, 2)
    await until(lambda: behind.proxy.halt is not None, WAIT_S)
    assert f"entry {raised.index}" in str(behind.proxy.halt)
    assert behind.proxy.level == 1
    assert await names(behind) == {"n1"}
    for refused in (waits, behind.proxy.wait_applied(raised.index)):
        with pytest.raises(StoreStoppedError, match="cannot apply"):
            await refused
    with pytest.raises(SnapshotRefusedError, match="has halted"):
        behind.proxy.incoming_snapshot(leader.voter)
    assert not behind.failed.done()


async def test_when_the_process_dies_what_it_held_is_unknown_and_the_agent_is_told(
    nodes: list[ProcessNode],
) -> None:
    await group(nodes)
    for node in nodes[1:]:
        await node.stop()  # nothing can be committed
    held = asyncio.create_task(put(nodes[0], 1))
    waits = asyncio.create_task(nodes[0].proxy.wait_applied(nodes[0].proxy.applied_index + 100))  # type: ignore[arg-type]
    await until(lambda: bool(nodes[0].proxy._channel and nodes[0].proxy._channel._asked))
    nodes[0].child.die()
    async with asyncio.timeout(WAIT_S):
        await nodes[0].failed
        with pytest.raises(StoreFailedError):
            await held
        with pytest.raises(StoreStoppedError):
            await waits
    assert not nodes[0].proxy.is_leader
    with pytest.raises(StoreStoppedError):
        await put(nodes[0], 2)


# ---- beside voters that live inside their agents


async def test_voters_inside_their_agents_and_in_processes_are_one_group(
    nodes: list[ProcessNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two have processes. The one inside its agent is dialled at its agent's endpoint, sends to the others'
    agents, leads them, and brings one that is behind a snapshot."""
    monkeypatch.setattr(voter_compaction, "COMPACT_ENTRIES", 20)
    monkeypatch.setattr(voter_compaction, "TRAIL_ENTRIES", 5)
    inside, *outside = nodes
    peers = MeshPeers(inside.route, inside.voter, incarnation=1)
    engine = VoterEngine(
        inside.folder,
        inside.voter,
        founders=Configuration(frozenset({inside.voter})),
        clock=SystemClock(),
        rng=Random(1),
        peers=peers,
        segment_bytes=1,
    )
    await engine.open()
    peers.attach(engine)
    try:
        await engine.propose(fabric_init(), request_id=RequestId("q-init"))
        for number in range(60):
            await engine.propose(project(number, 2_000), request_id=RequestId(f"q{number}"))
        inside.endpoint = inside.end.board.endpoint
        for node in outside:
            await node.start()
        for node in outside:
            node.know(*(other for other in nodes if other is not node))
        wanted = Configuration(frozenset(node.voter for node in nodes))
        engine.change(wanted.voters)
        await until(lambda: engine.configuration == wanted and not engine.is_changing, WAIT_S)
        for node in outside:
            async with asyncio.timeout(WAIT_S):
                await node.proxy.wait_applied(engine.applied_index)
            assert len(await names(node)) == 60
            assert node.proxy.passed_over == 1  # it came as rows, and no entry told of it
        engine.transfer(outside[0].voter)
        await until(lambda: outside[0].proxy.is_leader, WAIT_S)
        await put(outside[0], 100)
        async with asyncio.timeout(WAIT_S):
            await engine.wait_applied(outside[0].proxy.applied_index)
        assert "n100" in {found.name for found in await engine.read(ListProjects())}
    finally:
        peers.detach()
        await engine.close()

"""Who is heard by a voter, which links it keeps, and what becomes of snapshots that do not arrive whole.

What voters do together when all goes well is in `tests/contract/mesh/test_voters.py`.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.errors import DeadlineExceededError, PeerUnreachableError, RemoteError
from fabric.mesh.loopback import LoopbackNetwork
from fabric.mesh.switchboard import Switchboard
from fabric.runtime import snapshot_transfer
from fabric.runtime.snapshot_transfer import LOG_SNAPSHOT, LOG_SNAPSHOT_BYTES, SnapshotSource
from fabric.store import voter_compaction
from fabric.store.voter_id import voter_of
from proto.codec import Plain
from proto.ids import LogIndex, NodeId, Term, VoterId
from proto.raft import Heartbeat
from proto.raft_frames import RaftAddress, SnapshotOffer, raft_body
from proto.records import to_wire
from tests.fixtures.mesh_nodes import loopback_transports, until
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

BEAT = Heartbeat(term=Term(1), commit_index=LogIndex(0), round=1)
IDLE_S = 0.2


@pytest.fixture
def network() -> LoopbackNetwork:
    return LoopbackNetwork()


@pytest.fixture
async def nodes(network: LoopbackNetwork, tmp_path: Path) -> AsyncIterator[list[VoterNode]]:
    make = loopback_transports(network=network, idle_s=IDLE_S)
    async with voter_nodes(make, tmp_path, 3) as made:
        yield made


@pytest.fixture
def small_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever comes late needs a snapshot, of many chunks."""
    monkeypatch.setattr(voter_compaction, "COMPACT_ENTRIES", 20)
    monkeypatch.setattr(voter_compaction, "TRAIL_ENTRIES", 5)
    monkeypatch.setattr(snapshot_transfer, "CHUNK_BYTES", 4_096)


async def dropped(node: VoterNode, reason: str) -> None:
    await until(lambda: node.end.board.dropped().get(reason, 0) > 0)


async def says(sender: VoterNode, to: VoterNode, address: RaftAddress) -> None:
    """Sends a heartbeat with that address over its own link."""
    body = raft_body(address, BEAT)
    await until(lambda: sender.end.board.send_body(to.node_id, BEAT.KIND, body))


# ---- who is heard


async def test_what_comes_where_no_voter_lives_is_dropped(nodes: list[VoterNode]) -> None:
    a, b, _ = nodes
    await says(a, b, RaftAddress(sender=a.voter, to=b.voter, incarnation=1))
    await dropped(b, "no_voter")


@pytest.mark.parametrize("reason", ["wrong_sender", "wrong_voter", "wrong_incarnation", "no_conductor", ""])
async def test_only_what_is_for_this_voter_from_who_says_so_is_heard(
    nodes: list[VoterNode], reason: str
) -> None:
    a, b, c = nodes
    await b.start(Configuration())
    if reason == "no_conductor":  # a stolen host could lead it, and write what it likes
        b.impostors.add(a.node_id)
    address = RaftAddress(
        sender=c.voter if reason == "wrong_sender" else a.voter,
        to=voter_of(b.node_id, "99999999") if reason == "wrong_voter" else b.voter,
        incarnation=2 if reason == "wrong_incarnation" else 1,
    )
    await says(a, b, address)
    if reason:
        await dropped(b, reason)
        assert b.engine.leader_id is None
    else:
        await until(lambda: b.engine.leader_id == a.voter)
        assert not b.end.board.dropped()


async def test_what_is_no_message_is_dropped(nodes: list[VoterNode]) -> None:
    a, b, _ = nodes
    await b.start(Configuration())
    body = raft_body(RaftAddress(sender=a.voter, to=b.voter, incarnation=1), BEAT) | {"round": -1}
    await until(lambda: a.end.board.send_body(b.node_id, BEAT.KIND, body))
    await dropped(b, "bad_field")


async def test_groups_of_two_incarnations_do_not_hear_each_other(nodes: list[VoterNode]) -> None:
    a, b, _ = nodes
    both = Configuration(frozenset([a.voter, b.voter]))
    await a.start(both, incarnation=1)
    await b.start(both, incarnation=2)
    for node in (a, b):
        await dropped(node, "wrong_incarnation")
        assert node.engine.term == 0, "nobody was elected, nor even asked"


async def test_another_voter_may_live_here_when_the_one_before_has_gone(nodes: list[VoterNode]) -> None:
    a, b, _ = nodes
    await b.start(Configuration())
    former = b.voter
    await b.lose_disk()
    await b.start(Configuration())
    await says(a, b, RaftAddress(sender=a.voter, to=former, incarnation=1))
    await dropped(b, "wrong_voter")
    await says(a, b, RaftAddress(sender=a.voter, to=b.voter, incarnation=1))
    await until(lambda: b.engine.leader_id == a.voter)


# ---- links


class HoldCounter:
    """What a conversation holds of a switchboard."""

    def __init__(self, board: Switchboard, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held: Counter[NodeId] = Counter()
        hold, release = board.hold, board.release

        def count_hold(node_id: NodeId) -> None:
            self.held[node_id] += 1
            hold(node_id)

        def count_release(node_id: NodeId) -> None:
            self.held[node_id] -= 1
            release(node_id)

        monkeypatch.setattr(board, "hold", count_hold)
        monkeypatch.setattr(board, "release", count_release)

    def __call__(self) -> set[NodeId]:
        return {node_id for node_id, count in self.held.items() if count}

    async def becomes(self, *nodes: VoterNode) -> None:
        await until(lambda: self() == {node.node_id for node in nodes}, PATIENCE_S)


async def test_links_to_all_other_members_are_held_while_they_are_members(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, learner = nodes
    held = {node.node_id: HoldCounter(node.end.board, monkeypatch) for node in nodes}
    await found(first, second)
    assert held[first.node_id]() == {second.node_id}
    assert held[second.node_id]() == {first.node_id}
    await learner.start(Configuration())
    assert held[learner.node_id]() == set()
    await change({first.voter, second.voter}, {learner.voter}, first, second)
    for node in nodes:
        await held[node.node_id].becomes(*(other for other in nodes if other is not node))
    await change({first.voter, second.voter}, set(), first, second)
    await held[first.node_id].becomes(second)
    await held[second.node_id].becomes(first)
    for node in nodes:
        await node.stop()
        assert held[node.node_id]() == set()


async def test_sending_to_nobody_is_no_error(nodes: list[VoterNode]) -> None:
    a, *_ = nodes
    await a.start(Configuration())
    assert a.peers is not None
    a.peers.send(voter_of(NodeId("f" * 32), "00000001"), BEAT)
    a.peers.send(voter_of(a.node_id, "99999999"), BEAT)
    with pytest.raises(PeerUnreachableError):
        await a.peers.send_snapshot(
            voter_of(a.node_id, "99999999"),
            Term(1),
            SnapshotMark(LogIndex(1), Term(1), Configuration()),
            a.folder,
        )


# ---- snapshots


class Sent:
    """How each snapshot's sending ended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errors: list[BaseException | None] = []
        send = SnapshotSource.send

        async def tell(source: SnapshotSource, *arguments: Any) -> None:
            try:
                await send(source, *arguments)
            except BaseException as error:
                self.errors.append(error)
                raise
            self.errors.append(None)

        monkeypatch.setattr(SnapshotSource, "send", tell)

    async def failed(self) -> BaseException:
        await until(lambda: bool(self.errors), PATIENCE_S)
        assert self.errors[0] is not None
        return self.errors[0]


class Arrivals:
    """Stops the follower in its thread at some chunk, or before the first, until it may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str = "write", at: int = 5) -> None:
        self.steps = 0
        self.is_stopped, self.go_on = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        do = getattr(snapshot_transfer._Arriving, step)

        def stop_on_the_way(arriving: snapshot_transfer._Arriving, *arguments: bytes) -> None:
            self.steps += 1
            if self.steps == at:
                loop.call_soon_threadsafe(self.is_stopped.set)
                asyncio.run_coroutine_threadsafe(self.go_on.wait(), loop).result(PATIENCE_S)
            do(arriving, *arguments)

        monkeypatch.setattr(snapshot_transfer._Arriving, step, stop_on_the_way)


class Tickets:
    """All that were made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[bytes] = []
        make = secrets.token_bytes

        def remember(count: int) -> bytes:
            self.made.append(make(count))
            return self.made[-1]

        monkeypatch.setattr(secrets, "token_bytes", remember)


async def refused_to(by: VoterNode, source: VoterNode, ticket: Plain) -> bool:
    stream = by.end.rpc.stream(source.node_id, LOG_SNAPSHOT_BYTES, {"ticket": ticket}, timeout_ms=5_000)
    with pytest.raises(RemoteError) as caught:
        await anext(stream)
    return caught.value.remote_code == "fabric.raft.no_offer"


async def behind(leader: VoterNode, newcomer: VoterNode) -> None:
    """A group of one, and a newcomer that its log is of no use to."""
    await found(leader)
    for number in range(40):
        await put(number, leader, size=5_000)
    await newcomer.start(Configuration())
    await change({leader.voter}, {newcomer.voter}, leader)


async def holds_all(leader: VoterNode, newcomer: VoterNode) -> None:
    await caught_up(newcomer, leader)
    assert await names(newcomer) == numbered(40)
    assert newcomer.unfinished() == []
    await until(lambda: not leader.unfinished())


@pytest.mark.usefixtures("small_log")
async def test_a_transfer_that_is_cut_begins_again_and_leaves_no_file(
    nodes: list[VoterNode], network: LoopbackNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, newcomer, _ = nodes
    sent, arrivals = Sent(monkeypatch), Arrivals(monkeypatch)
    monkeypatch.setattr(snapshot_transfer, "CHUNK_TIMEOUT_MS", 2_000)
    monkeypatch.setattr(snapshot_transfer, "STALL_S", 1.0)
    await behind(leader, newcomer)
    await arrivals.is_stopped.wait()
    assert newcomer.unfinished() == [f"from-{leader.voter}.tmp"]
    network.cut(leader.end.board.endpoint, newcomer.end.board.endpoint)
    arrivals.go_on.set()
    assert isinstance(await sent.failed(), DeadlineExceededError)
    await until(lambda: not newcomer.unfinished(), PATIENCE_S)
    network.heal()
    await holds_all(leader, newcomer)


@pytest.mark.usefixtures("small_log")
async def test_a_voter_that_leaves_takes_its_half_of_a_snapshot_along(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, newcomer, _ = nodes
    sent, arrivals = Sent(monkeypatch), Arrivals(monkeypatch)
    await behind(leader, newcomer)
    await arrivals.is_stopped.wait()
    assert newcomer.peers is not None
    newcomer.peers.detach()
    arrivals.go_on.set()
    error = await sent.failed()
    assert isinstance(error, RemoteError)
    assert error.remote_code == "fabric.store.stopped"
    await until(lambda: not newcomer.unfinished())
    newcomer.peers.attach(newcomer.engine)
    await holds_all(leader, newcomer)


@pytest.mark.usefixtures("small_log")
@pytest.mark.parametrize(
    ("lie", "code"),
    [
        (lambda size, digest: (size, bytes(32)), "fabric.raft.snapshot_broken"),
        (lambda size, digest: (size + 1, digest), "fabric.raft.snapshot_broken"),
        (lambda size, digest: (size - 1, digest), "fabric.raft.snapshot_broken"),
        (lambda size, digest: ((16 << 30) + 1, digest), "fabric.store.snapshot_refused"),
    ],
)
async def test_other_bytes_than_were_offered_are_not_kept(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch, lie: Any, code: str
) -> None:
    leader, newcomer, _ = nodes
    sent = Sent(monkeypatch)
    honest = snapshot_transfer._size_and_digest
    with monkeypatch.context() as lying:
        lying.setattr(snapshot_transfer, "_size_and_digest", lambda path: lie(*honest(path)))
        await behind(leader, newcomer)
        error = await sent.failed()
        assert isinstance(error, RemoteError)
        assert error.remote_code == code
        assert await names(newcomer) == set()
    await holds_all(leader, newcomer)


@pytest.mark.usefixtures("small_log")
async def test_a_snapshot_for_which_there_is_no_room_is_refused(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, newcomer, _ = nodes
    sent, arrivals = Sent(monkeypatch), Arrivals(monkeypatch)
    with monkeypatch.context() as full:
        full.setattr(snapshot_transfer, "DISK_FREE_BYTES_MIN", 1 << 60)
        await behind(leader, newcomer)
        error = await sent.failed()
        assert isinstance(error, RemoteError)
        assert "too little disk space" in error.message
        assert arrivals.steps == 0
        await until(lambda: not newcomer.unfinished())
    arrivals.go_on.set()
    await holds_all(leader, newcomer)


@pytest.mark.usefixtures("small_log")
async def test_a_snapshot_is_for_the_node_its_ticket_was_made_for(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, newcomer, stranger = nodes
    tickets, arrivals = Tickets(monkeypatch), Arrivals(monkeypatch, "check_room", at=1)
    await behind(leader, newcomer)
    await arrivals.is_stopped.wait()
    for ticket in (tickets.made[-1], bytes(16), None):
        assert await refused_to(stranger, leader, ticket)
    arrivals.go_on.set()
    await holds_all(leader, newcomer)


@pytest.mark.usefixtures("small_log")
async def test_a_ticket_opens_a_snapshot_once_and_not_later(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, newcomer, _ = nodes
    tickets, arrivals = Tickets(monkeypatch), Arrivals(monkeypatch)
    await behind(leader, newcomer)
    await arrivals.is_stopped.wait()
    assert await refused_to(newcomer, leader, tickets.made[-1])
    arrivals.go_on.set()
    await holds_all(leader, newcomer)
    for ticket in tickets.made:
        assert await refused_to(newcomer, leader, ticket)


@pytest.mark.usefixtures("small_log")
async def test_only_the_leader_may_offer_and_one_at_a_time(
    nodes: list[VoterNode], monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, newcomer, stranger = nodes
    arrivals = Arrivals(monkeypatch)

    async def refused(by: VoterNode, at: VoterNode, **changes: Any) -> str:
        fields: dict[str, Any] = {
            "sender": by.voter,
            "to": at.voter,
            "incarnation": 1,
            "term": leader.engine.term,
            "index": LogIndex(1),
            "mark_term": Term(1),
            "configuration": b"",
            "size": 1,
            "digest": bytes(32),
            "ticket": bytes(16),
        }
        offer = to_wire(SnapshotOffer(**{**fields, **changes}))
        with pytest.raises(RemoteError) as caught:
            await by.end.rpc.call(at.node_id, LOG_SNAPSHOT, offer, timeout_ms=5_000)
        return caught.value.remote_code

    await behind(leader, newcomer)
    await arrivals.is_stopped.wait()
    assert await refused(stranger, newcomer) == "fabric.store.snapshot_refused"
    assert await refused(stranger, newcomer, sender=leader.voter) == "fabric.wire"
    assert await refused(leader, newcomer, incarnation=2) == "fabric.wire"
    assert await refused(leader, newcomer, to=VoterId(f"{newcomer.node_id}.99999999")) == "fabric.wire"
    assert await refused(leader, newcomer, configuration=b"\xc1") == "fabric.wire"
    assert await refused(leader, newcomer, term=leader.engine.term + 1) == "fabric.store.snapshot_refused"
    assert await refused(leader, newcomer) == "fabric.store.busy"
    assert await refused(leader, stranger) == "fabric.raft.no_voter"
    arrivals.go_on.set()
    await holds_all(leader, newcomer)

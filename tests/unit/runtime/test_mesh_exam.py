"""Facts for the doctor: complete where peers answer, quick where they do not, and nothing is raised."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Mapping
from dataclasses import replace
from random import Random

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.errors import DeadlineExceededError, RemoteError
from fabric.runtime.mesh_exam import PEERS_MAX, ROOT_ROUNDS, ExamSources, MeshExam, examine
from fabric.runtime.peer_probes import PeerProbes
from proto.codec import Plain
from proto.ids import NodeId
from proto.membership import Finding
from tests.fixtures.mesh_view_double import NOW_MS, MeshDouble, TwoClocks, link_to, member_named
from tests.fixtures.peer_rpc_double import Peer, RpcDouble


@pytest.fixture
def listener() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def at(member: Member, endpoint: str) -> Member:
    return replace(member, record=replace(member.record, endpoint=endpoint))


async def exam_of(
    view: MeshDouble, peers: dict[NodeId, Peer], *only: NodeId, deadline_ms: int = 20_000
) -> MeshExam:
    clock = TwoClocks()
    probes = PeerProbes(RpcDouble(peers), view, clock, lag_ms=lambda: 0)
    sources = ExamSources(
        view=view, probes=probes, clock=clock, lag_ms=lambda: 7, dropped_lately=lambda: {"malformed": 5}
    )
    return await examine(sources, only, deadline_ms=deadline_ms, rng=Random(1))


async def test_two_that_are_well(listener: str) -> None:
    a = at(member_named("a", is_linked=True, spoke_ms=NOW_MS - 300), listener)
    view = MeshDouble(rows=[at(member_named("me"), listener), a], linked=[link_to("a")])
    exam = await exam_of(view, {a.record.node_id: Peer()})
    assert (exam.is_whole, exam.listening, exam.lag_ms, exam.members) == (True, Finding.REACHABLE, 7, 2)
    assert exam.dropped_lately == {"malformed": 5}
    (peer,) = exam.peers
    assert (peer.name, peer.knock, peer.age_ms, peer.spoke_age_ms) == ("a", Finding.REACHABLE, 500, 300)
    assert peer.link is not None
    assert peer.echo is not None
    assert peer.large is not None
    assert peer.seen is not None
    assert (peer.seen.state, peer.is_root_equal, peer.others) == ("alive", True, {})


async def test_one_that_does_not_answer_is_asked_about_elsewhere(listener: str) -> None:
    a, lost = at(member_named("a"), listener), at(member_named("lost"), "tcp://127.0.0.1:1")
    view = MeshDouble(rows=[at(member_named("me"), listener), a, lost])
    exam = await exam_of(view, {a.record.node_id: Peer(states={lost.record.node_id: "suspect"})})
    well, peer = exam.peers
    assert well.has_answered
    assert not peer.has_answered
    assert (peer.knock, peer.echo_error, peer.others) == (
        Finding.REFUSED,
        "fabric.mesh.unreachable",
        {"a": "suspect"},
    )


async def test_large_ones_lost_and_errors_of_all_kinds(listener: str) -> None:
    me = at(member_named("me"), listener)
    small, late, old = (at(member_named(name), listener) for name in ("b-small", "c-late", "d-old"))
    peers = {
        small.record.node_id: Peer(large=DeadlineExceededError("late")),
        late.record.node_id: Peer(echo=DeadlineExceededError("late")),
        old.record.node_id: Peer(echo=RemoteError("fabric.mesh.no_method", "what?")),
    }
    exam = await exam_of(MeshDouble(rows=[me, small, late, old]), peers)
    found = {peer.name: peer for peer in exam.peers}
    assert found["b-small"].echo is not None
    assert found["b-small"].large_error == "fabric.mesh.deadline"
    assert found["c-late"].echo_error == "fabric.mesh.deadline"
    assert found["d-old"].echo_error == "fabric.mesh.no_method"


async def test_tables_that_meet_in_a_later_look_are_the_same(
    listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabric.runtime.mesh_exam.ROOT_PAUSE_S", 0)
    soon, never = at(member_named("soon"), listener), at(member_named("never"), listener)
    peers = {
        soon.record.node_id: Peer(roots=[b"x" * 8, b"y" * 8, bytes(8)]),
        never.record.node_id: Peer(roots=[b"z" * 8]),
    }
    exam = await exam_of(MeshDouble(rows=[at(member_named("me"), listener), soon, never]), peers)
    assert {peer.name: peer.is_root_equal for peer in exam.peers} == {"soon": True, "never": False}
    assert peers[never.record.node_id].asked == ROOT_ROUNDS


@pytest.mark.parametrize("speaks", [True, False])
async def test_one_that_is_heard_and_does_not_answer(
    listener: str, monkeypatch: pytest.MonkeyPatch, speaks: bool
) -> None:
    monkeypatch.setattr("fabric.runtime.mesh_exam.LISTEN_PAUSE_S", 0)
    deaf = at(member_named("deaf", spoke_ms=NOW_MS - 3_000), "tcp://127.0.0.1:1")
    view, clock = MeshDouble(rows=[at(member_named("me"), listener), deaf]), TwoClocks()

    class Ticking(MeshDouble):
        """Each look takes a second of the clock; at the third look the peer has spoken again."""

        def member(self, node_id: NodeId) -> Member | None:
            if node_id == deaf.record.node_id:
                clock.now_ms += 1_000
                if speaks and clock.now_ms == NOW_MS + 3_000:
                    self.rows[1] = replace(deaf, spoke_ms=NOW_MS + 2_500)
            return super().member(node_id)

    view = Ticking(rows=view.rows)
    probes = PeerProbes(RpcDouble({}), view, clock, lag_ms=lambda: 0)
    sources = ExamSources(view=view, probes=probes, clock=clock, lag_ms=lambda: 0, dropped_lately=dict)
    (peer,) = (await examine(sources)).peers
    assert peer.has_spoken_since is speaks
    assert peer.spoke_age_ms == (500 if speaks else 3_000)


async def test_the_deadline_ends_it(listener: str) -> None:
    class Hanging(RpcDouble):
        async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
            await asyncio.get_running_loop().create_future()
            raise AssertionError

    a = at(member_named("a"), listener)
    view = MeshDouble(rows=[at(member_named("me"), listener), a])
    clock = TwoClocks()
    probes = PeerProbes(Hanging({}), view, clock, lag_ms=lambda: 0)
    sources = ExamSources(view=view, probes=probes, clock=clock, lag_ms=lambda: 0, dropped_lately=dict)
    exam = await examine(sources, deadline_ms=200)
    assert not exam.is_whole
    assert exam.peers[0].echo is None


async def test_who_is_looked_at(listener: str) -> None:
    many = [member_named(f"n{i:03}") for i in range(PEERS_MAX + 20)]
    down = member_named("down", state=MemberState.HOST_DOWN)
    near = member_named("near", is_linked=True)
    gone = [member_named("left", state=MemberState.LEFT), member_named("going", state=MemberState.LEAVING)]
    rows = [at(row, "tcp://127.0.0.1:1") for row in [member_named("me"), *many, down, near, *gone]]
    exam = await exam_of(MeshDouble(rows=rows), {})
    names = [peer.name for peer in exam.peers]
    assert len(names) == PEERS_MAX
    assert {"down", "near"} <= set(names)
    assert not {"me", "left", "going"} & set(names)
    assert exam.left_out == 22
    assert exam.leaving == ("going",)
    assert names == sorted(names)
    named = await exam_of(MeshDouble(rows=rows), {}, rows[-2].record.node_id)
    assert [peer.name for peer in named.peers] == ["left"]

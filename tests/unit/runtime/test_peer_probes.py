"""Echoes and second opinions between two real RPC ends in memory; bounds in size and rate."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from fabric.core.membership.model import MemberState
from fabric.errors import RemoteError
from fabric.runtime.peer_probes import (
    ASKED_BURST,
    ASKED_PER_S,
    BYTES_BURST,
    ECHO,
    ECHO_BYTES_MAX,
    SEEN,
    PeerProbes,
)
from proto.codec import Plain
from proto.ids import NodeId
from proto.membership import Finding
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.mesh_nodes import RpcEnd, loopback_transports, rpc_ends
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks, link_to, member_named

TIMEOUT_MS = 10_000


@dataclass
class Side:
    end: RpcEnd
    clock: TwoClocks = field(default_factory=TwoClocks)
    view: MeshDouble = field(default_factory=MeshDouble)
    lag_ms: int = 0

    def __post_init__(self) -> None:
        self.probes = PeerProbes(
            self.end.rpc, self.view, self.clock, lag_ms=lambda: self.lag_ms, door=lambda: "tcp://door:1"
        )


@pytest.fixture
async def sides() -> AsyncIterator[tuple[Side, Side]]:
    ends = await rpc_ends(loopback_transports(), 2)
    yield Side(ends[0]), Side(ends[1])
    for end in ends:
        await end.close()


@pytest.mark.parametrize("size", [0, 56, 32_768, ECHO_BYTES_MAX])
async def test_an_echo(sides: tuple[Side, Side], size: int) -> None:
    us, them = sides
    them.clock.wall += 3_600_000
    them.lag_ms = 40
    echo = await us.probes.echo(them.end.node_id, size, timeout_ms=TIMEOUT_MS)
    assert (echo.size, echo.lag_ms) == (size, 40)
    assert 0 < echo.rtt_us < TIMEOUT_MS * 1_000
    assert 3_600_000 - TIMEOUT_MS < echo.clock_ahead_ms <= 3_600_000


async def test_an_echo_of_oneself(sides: tuple[Side, Side]) -> None:
    us, _ = sides
    assert (await us.probes.echo(us.end.node_id, 56, timeout_ms=TIMEOUT_MS)).size == 56


async def test_how_a_peer_sees_a_node(sides: tuple[Side, Side]) -> None:
    us, them = sides
    stuck = member_named("stuck", state=MemberState.STALLED, heard_ms=99_000, epoch=7)
    them.view.rows.append(stuck)
    them.view.linked.append(link_to("stuck", is_bad=True))
    them.view.root = b"12345678"
    about = stuck.record.node_id
    seen = await us.probes.seen(them.end.node_id, about, timeout_ms=TIMEOUT_MS)
    assert (seen.state, seen.age_ms, seen.epoch, seen.root) == ("stalled", 1_000, 7, b"12345678")
    assert (seen.is_linked, seen.is_up, seen.is_bad, seen.members) == (True, True, True, 2)
    assert (seen.is_isolated, seen.door) == (False, "tcp://door:1")
    nobody = await us.probes.seen(them.end.node_id, FakeNode("nobody").node_id, timeout_ms=TIMEOUT_MS)
    assert (nobody.state, nobody.is_linked) == ("", False)


async def test_asked_about_nobody_the_caller_is_meant(sides: tuple[Side, Side]) -> None:
    us, them = sides
    known = member_named("us")
    them.view.rows.append(replace(known, record=replace(known.record, node_id=us.end.node_id)))
    answer = await us.end.rpc.call(them.end.node_id, SEEN, {}, timeout_ms=TIMEOUT_MS)
    assert isinstance(answer, dict)
    assert answer["state"] == "alive"


@pytest.mark.parametrize(
    ("method", "body"),
    [
        (ECHO, {}),
        (ECHO, {"data": "text"}),
        (ECHO, {"data": bytes(ECHO_BYTES_MAX + 1)}),
        (SEEN, {"node_id": 5}),
    ],
)
async def test_what_makes_no_sense_is_refused(
    sides: tuple[Side, Side], method: str, body: dict[str, Plain]
) -> None:
    us, them = sides
    with pytest.raises(RemoteError) as refused:
        await us.end.rpc.call(them.end.node_id, method, body, timeout_ms=TIMEOUT_MS)
    assert refused.value.remote_code == "fabric.mesh.bad_request"


async def test_a_loop_is_told_to_slow_down_and_others_are_not(sides: tuple[Side, Side]) -> None:
    us, them = sides

    async def ask(caller: Side) -> None:
        await caller.probes.echo(them.end.node_id, 1, timeout_ms=TIMEOUT_MS)

    for _ in range(ASKED_BURST):
        await ask(us)
    with pytest.raises(RemoteError) as refused:
        await ask(us)
    assert refused.value.remote_code == "fabric.mesh.busy"
    await ask(them)
    them.clock.now_ms += 1_000
    for _ in range(ASKED_PER_S):
        await ask(us)
    with pytest.raises(RemoteError):
        await ask(us)


async def test_many_bytes_are_bounded_too(sides: tuple[Side, Side]) -> None:
    us, them = sides
    for _ in range(BYTES_BURST // ECHO_BYTES_MAX):
        await us.probes.echo(them.end.node_id, ECHO_BYTES_MAX, timeout_ms=TIMEOUT_MS)
    with pytest.raises(RemoteError) as refused:
        await us.probes.echo(them.end.node_id, ECHO_BYTES_MAX, timeout_ms=TIMEOUT_MS)
    assert refused.value.remote_code == "fabric.mesh.busy"


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        {"data": b"other", "wall_ms": 1, "lag_ms": 0},
        {"data": b"\0", "wall_ms": -1, "lag_ms": 0},
    ],
)
async def test_an_answer_that_makes_no_sense(answer: Plain) -> None:
    ends = await rpc_ends(loopback_transports(), 2)

    async def nonsense(_: NodeId, __: object) -> Plain:
        return answer

    us = Side(ends[0])
    ends[1].rpc.serve(ECHO, nonsense)
    ends[1].rpc.serve(SEEN, nonsense)
    with pytest.raises(RemoteError) as wrong:
        await us.probes.echo(ends[1].node_id, 1, timeout_ms=TIMEOUT_MS)
    assert wrong.value.remote_code == "fabric.mesh.bad_answer"
    with pytest.raises(RemoteError) as wrong:
        await us.probes.seen(ends[1].node_id, us.end.node_id, timeout_ms=TIMEOUT_MS)
    assert wrong.value.remote_code == "fabric.mesh.bad_answer"
    for end in ends:
        await end.close()


async def test_a_knock(sides: tuple[Side, Side], unused_tcp_port: int) -> None:
    us, _ = sides
    assert await us.probes.knock(f"tcp://127.0.0.1:{unused_tcp_port}", timeout_ms=5_000) is Finding.REFUSED
    assert await us.probes.knock("tcp://", timeout_ms=100) is Finding.SILENT

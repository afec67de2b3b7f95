"""Console logs over the mesh, and nudges: to whom, how often, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.servers.model import AssignedServer
from fabric.errors import PeerUnreachableError, RemoteError
from fabric.runtime.host_calls import CONSOLE_BYTES_MAX, HostNudger, NudgeConfig, RpcHostCalls, tail
from proto.codec import Plain
from proto.commands.moves import MoveConfirm
from proto.commands.networks import PortUpdate, SecurityRuleDelete
from proto.commands.nodes import HostUpdate
from proto.commands.servers import ServerAct, ServerExpire, ServerObserved, ServerPlace
from proto.ids import Fence, NodeId, SecurityGroupRuleId
from tests.fixtures.compute_doubles import FleetDouble, RpcDouble, StateDouble
from tests.fixtures.compute_rows import HOST, placed, port

OTHER = NodeId("b" * 32)
DEAD = NodeId("d" * 32)
SERVER = placed()


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(None, "a\nb\nc"), (-1, "a\nb\nc"), (0, ""), (1, "c"), (2, "b\nc"), (9, "a\nb\nc")],
)
def test_tail(lines: int | None, expected: str) -> None:
    assert tail("a\nb\nc", lines) == expected


async def test_console_log_decodes_what_guests_print() -> None:
    rpc = RpcDouble()

    async def answer(to: NodeId, method: str, body: Mapping[str, Plain]) -> Plain:
        assert (to, method) == (HOST, "host.console_log")
        assert body == {"server_id": SERVER.server_id, "bytes_max": CONSOLE_BYTES_MAX}
        return {"data": b"login: \xff\nok"}

    rpc.answers = answer
    text = await RpcHostCalls(rpc).console_log(HOST, SERVER.server_id, lines=None)
    assert text == "login: \ufffd\nok"


@pytest.mark.parametrize("data", [None, "text", b"x" * (CONSOLE_BYTES_MAX + 1)])
async def test_a_bad_answer_is_an_error(data: Plain) -> None:
    rpc = RpcDouble()

    async def answer(to: NodeId, method: str, body: Mapping[str, Plain]) -> Plain:
        return {"data": data}

    rpc.answers = answer
    with pytest.raises(RemoteError):
        await RpcHostCalls(rpc).console_log(HOST, SERVER.server_id, lines=None)


class Nudged:
    """A running nudger and what it sent."""

    def __init__(self) -> None:
        self.state = StateDouble()
        self.state.put(AssignedServer(server=SERVER, ports=(port(),), networks=(), image=None))
        self.rpc = RpcDouble()
        self.rpc.answers = self.answer
        self.sent: asyncio.Queue[NodeId] = asyncio.Queue()
        self.hold = asyncio.Event()
        self.hold.set()
        fleet = FleetDouble({HOST: MemberState.ALIVE, OTHER: MemberState.ALIVE, DEAD: MemberState.HOST_DOWN})
        self.nudger = HostNudger(self.state, self.rpc, fleet, NudgeConfig(lazy_ms=5, lookups_max=50))

    async def answer(self, to: NodeId, method: str, body: Mapping[str, Plain]) -> Plain:
        assert method == "host.nudge"
        self.sent.put_nowait(to)
        await self.hold.wait()
        return {}

    async def next(self) -> NodeId:
        async with asyncio.timeout(5):
            return await self.sent.get()


@pytest.fixture
async def nudged() -> AsyncIterator[Nudged]:
    world = Nudged()
    task = asyncio.create_task(world.nudger.run())
    await asyncio.sleep(0)
    yield world
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert world.state._listeners == []


def place(host_id: NodeId) -> ServerPlace:
    return ServerPlace(server_id=SERVER.server_id, host_id=host_id, fence=Fence(1), read_generation=1)


def act(verb: str = "stop") -> ServerAct:
    return ServerAct(server_id=SERVER.server_id, verb=verb, request_id=SERVER.request_id, deadline_ms=1)


async def test_place_nudges_that_host(nudged: Nudged) -> None:
    nudged.state.announce(place(OTHER))
    assert await nudged.next() == OTHER


async def test_a_drained_host_is_told_at_once(nudged: Nudged) -> None:
    nudged.state.announce(HostUpdate(host_id=OTHER, enabled=False))
    assert await nudged.next() == OTHER


async def test_an_action_nudges_the_servers_host_by_its_row(nudged: Nudged) -> None:
    nudged.state.announce(act())
    assert await nudged.next() == HOST
    nudged.state.announce(ServerExpire(server_id=SERVER.server_id, generation=1, reason="late"))
    assert await nudged.next() == HOST


async def test_both_ends_of_a_move_are_nudged_and_whoever_has_the_server_after_it(nudged: Nudged) -> None:
    begin = MoveConfirm(server_id=SERVER.server_id, request_id=SERVER.request_id)
    nudged.state.announce(act())
    assert await nudged.next() == HOST  # and it is remembered whose the server is
    nudged.state.announce(begin, hosts=[HOST, OTHER])
    assert {await nudged.next(), await nudged.next()} == {HOST, OTHER}
    nudged.state.change(SERVER.server_id, host_id=OTHER)
    nudged.state.announce(act())
    assert await nudged.next() == OTHER
    assert nudged.sent.empty()


async def test_a_report_that_furthers_a_move_nudges_where_it_goes_on(nudged: Nudged) -> None:
    report = ServerObserved(server_id=SERVER.server_id, host_id=HOST, generation=1, power_state="shutdown")
    nudged.state.announce(report, hosts=[OTHER])
    assert await nudged.next() == OTHER
    assert nudged.sent.empty()


async def test_a_rule_change_nudges_every_living_host(nudged: Nudged) -> None:
    nudged.state.announce(SecurityRuleDelete(rule_id=SecurityGroupRuleId("r")))
    assert {await nudged.next(), await nudged.next()} == {HOST, OTHER}
    assert nudged.sent.empty()


async def test_a_port_change_nudges_its_host(nudged: Nudged) -> None:
    nudged.state.announce(PortUpdate(port_id=port().port_id, admin_state_up=False))
    assert await nudged.next() == HOST


async def test_reports_nudge_nobody_and_the_dead_are_left_alone(nudged: Nudged) -> None:
    nudged.state.announce(
        ServerObserved(server_id=SERVER.server_id, host_id=HOST, generation=1, power_state="running")
    )
    nudged.state.announce(place(DEAD))
    nudged.state.announce(place(OTHER))
    assert await nudged.next() == OTHER
    assert nudged.sent.empty()


async def test_many_changes_are_one_nudge_in_flight_and_one_after(nudged: Nudged) -> None:
    nudged.hold.clear()
    nudged.state.announce(place(OTHER))
    await nudged.next()
    for _ in range(20):
        nudged.state.announce(place(OTHER))
        await asyncio.sleep(0)
    assert nudged.sent.empty()
    nudged.hold.set()
    assert await nudged.next() == OTHER
    for _ in range(20):
        await asyncio.sleep(0)
    assert nudged.sent.empty()


async def test_a_lost_nudge_is_not_an_error(nudged: Nudged) -> None:
    async def lost(to: NodeId, method: str, body: Mapping[str, Plain]) -> Plain:
        nudged.sent.put_nowait(to)
        raise PeerUnreachableError(to)

    nudged.rpc.answers = lost
    nudged.state.announce(place(OTHER))
    await nudged.next()
    nudged.rpc.answers = nudged.answer
    nudged.state.announce(place(OTHER))
    assert await nudged.next() == OTHER

"""A host's reads and writes through the conductor: what it may, what it may not, and retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.core.identity.queries import GetFabric
from fabric.core.nodes.queries import ListHosts, ListRoleGrants
from fabric.core.queries import Query
from fabric.core.servers.queries import GetAssignments, GetServer, ListServers
from fabric.errors import (
    CommandRejectedError,
    DeadlineExceededError,
    NoQuorumError,
    Outcome,
    PeerUnreachableError,
    RemoteError,
)
from fabric.mesh.rpc_contract import Handler, StreamHandler
from fabric.mesh.rpc_errors import remote_error_of
from fabric.runtime.hard_state import HardState
from fabric.runtime.ownership import OwnerUnclearError, Process, need_owner
from fabric.runtime.remote_state import RemoteState
from fabric.runtime.state_service import StateService
from fabric.store.lone_voter import lone_voter
from fabric.store.program import PROGRAM
from proto.codec import Plain, pack, unpack
from proto.commands import Command, command_to_plain
from proto.commands.nodes import HostUpdate
from proto.commands.providers import HostOffers
from proto.commands.servers import ServerRemoved
from proto.commands.shelving import ServerShelve, ServerShelved
from proto.errors import WireError
from proto.ids import ImageId, NodeId, RequestId
from tests.fixtures.mesh_view_double import member_named
from tests.fixtures.store_world import (
    DEADLINE_MS,
    HOST_A,
    HOST_B,
    USER,
    ManualClock,
    StoreWorld,
    host_register,
    observed,
)

CONDUCTOR = NodeId("c" * 32)
NAMES = {HOST_A: "host-a", HOST_B: "host-b"}  # by certificate


def anyone(peer: NodeId, process: Process | None) -> None:
    """One process a node."""


class LoopRpc:
    """One node's RPC as another sees it: through the codec, with the mesh's own errors."""

    def __init__(self, peer: NodeId) -> None:
        self.peer = peer
        self.handlers: dict[str, Handler] = {}
        self.before: Callable[[str], None] = lambda method: None
        self.after: Callable[[str], None] = lambda method: None

    def serve(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    def unserve(self, method: str) -> None:
        raise NotImplementedError

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        raise NotImplementedError

    def stream(
        self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int
    ) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        assert to == CONDUCTOR
        self.before(method)
        plain = unpack(pack(dict(body)))
        assert isinstance(plain, dict)
        try:
            answer = await self.handlers[method](self.peer, plain)
        except Exception as error:
            raise remote_error_of(error, method) from error
        self.after(method)
        return unpack(pack(answer))


class TickingClock(ManualClock):
    """Each look costs nine seconds, so that deadlines come without waiting."""

    def monotonic_ms(self) -> int:
        self.now_ms += 9_000
        return self.now_ms


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[StoreWorld]:
    clock = ManualClock()
    state = lone_voter(tmp_path, clock=clock)
    await state.open()
    made = StoreWorld(state, clock)
    await made.init()
    yield made
    await state.close()


@pytest.fixture
def rpc(world: StoreWorld) -> LoopRpc:
    made = LoopRpc(HOST_A)
    StateService(world.engine, made, NAMES.get, anyone)
    return made


@pytest.fixture
def remote(rpc: LoopRpc) -> HardState:
    return RemoteState(rpc, lambda: CONDUCTOR, TickingClock())


async def propose(remote: HardState, command: Command, request: str = "req-1") -> bool:
    return (await remote.propose(command, request_id=RequestId(request))).replayed


async def test_a_host_works_through_the_conductor(world: StoreWorld, remote: HardState) -> None:
    server_id = await world.server("web", user_data=b"\x00\xff")
    await world.do(world.place(server_id))
    told = await remote.read(GetAssignments(host_id=HOST_A))
    assert told == await world.ask(GetAssignments(host_id=HOST_A))
    assert told.servers[0].server.user_data == b"\x00\xff"
    assert await propose(remote, observed(server_id, 2)) is False
    assert await propose(remote, observed(server_id, 2)) is True  # the same request again
    assert remote.applied_index == world.engine.applied_index - 1
    assert await remote.read(ListRoleGrants()) == await world.ask(ListRoleGrants())


async def test_a_host_says_of_its_own_servers_that_they_are_shelved(
    world: StoreWorld, remote: HardState
) -> None:
    await world.do(PROGRAM.raise_to(2))
    await world.do(PROGRAM.raise_to(3))
    server_id = await world.active("web")
    await world.do(
        ServerShelve(
            server_id=server_id,
            image_id=ImageId("shelf"),
            user_id=USER,
            request_id=RequestId("r"),
            deadline_ms=DEADLINE_MS,
        )
    )
    await propose(remote, observed(server_id, 4, power_state="shutdown"), "off")
    fields = {"md5": "5" * 32, "sha256": "2" * 64, "sha512": "1" * 128, "size_bytes": 1, "virtual_bytes": 1}
    saved = ServerShelved(server_id=server_id, host_id=HOST_A, generation=5, **fields)
    with pytest.raises(CommandRejectedError, match="only for itself"):
        await propose(remote, replace(saved, host_id=HOST_B), "another")
    assert await propose(remote, saved, "saved") is False
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    assert view.server.host_id is None


async def test_a_host_may_drain_itself_and_no_more(world: StoreWorld, remote: HardState) -> None:
    await propose(remote, HostUpdate(host_id=HOST_A, enabled=False, disabled_reason="disk"))
    assert not (await remote.read(GetAssignments(host_id=HOST_A))).is_enabled
    before = world.engine.applied_index
    for command in (
        HostUpdate(host_id=HOST_A, enabled=True),
        HostUpdate(host_id=HOST_A, disabled_reason="none"),
        HostUpdate(host_id=HOST_A, enabled=False, forced_down=False),
        HostUpdate(host_id=HOST_B, enabled=False),
    ):
        with pytest.raises(CommandRejectedError) as caught:
            await propose(remote, command, "req-2")
        assert caught.value.reason == "forbidden"
    assert world.engine.applied_index == before


async def test_rejections_cross_as_what_they_are(world: StoreWorld, remote: HardState) -> None:
    await world.active("web")
    with pytest.raises(CommandRejectedError, match="is not being deleted") as caught:
        await propose(remote, ServerRemoved(server_id="web", host_id=HOST_A))  # type: ignore[arg-type]
    assert caught.value.reason == "bad_state"
    assert caught.value.outcome is Outcome.NOT_DONE


async def test_a_host_speaks_only_for_itself(world: StoreWorld, remote: HardState) -> None:
    server_id = await world.active("web", HOST_B)
    before = world.engine.applied_index
    for command in (
        observed(server_id, 2, host_id=HOST_B),
        ServerRemoved(server_id=server_id, host_id=HOST_B),
        host_register(HOST_B, "host-b"),
        HostOffers(host_id=HOST_B),
        world.act(server_id, "delete"),
    ):
        with pytest.raises(CommandRejectedError) as caught:
            await propose(remote, command)
        assert caught.value.reason == "forbidden"
    assert world.engine.applied_index == before  # not even in the log
    with pytest.raises(CommandRejectedError) as caught:
        await remote.read(GetAssignments(host_id=HOST_B))
    assert caught.value.reason == "forbidden"


@pytest.mark.parametrize("query", [GetFabric(), ListServers(), ListHosts()])
async def test_other_questions_never_leave_the_node(remote: HardState, query: Query[object]) -> None:
    with pytest.raises(WireError, match="unknown_query"):
        await remote.read(query)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("state.read", {"query": "GetFabric", "body": {}}),
        ("state.read", {"query": "ListServers", "body": {}}),
        ("state.read", {"query": None}),
        ("state.read", {"query": "GetAssignments", "body": {"host_id": 5}}),
        ("state.read", {"query": "GetAssignments", "body": {"host_id": HOST_A, "bytes_max": 1 << 40}}),
        ("state.propose", {}),
        ("state.propose", {"command": {"kind": "no.such"}, "request_id": "r"}),
        ("state.propose", {"command": command_to_plain(host_register(HOST_A, "a")), "request_id": ""}),
        ("state.propose", {"command": command_to_plain(host_register(HOST_A, "a")), "request_id": "x" * 500}),
        ("state.propose", {"command": command_to_plain(host_register(HOST_A, "a")), "request_id": 7}),
    ],
)
async def test_malformed_calls_are_refused_not_done(
    rpc: LoopRpc, world: StoreWorld, method: str, body: dict[str, Plain]
) -> None:
    before = world.engine.applied_index
    with pytest.raises(RemoteError) as caught:
        await rpc.call(CONDUCTOR, method, body, timeout_ms=1)
    assert caught.value.outcome is Outcome.NOT_DONE
    assert world.engine.applied_index == before


async def test_a_lost_answer_is_not_a_second_effect(
    world: StoreWorld, rpc: LoopRpc, remote: HardState
) -> None:
    server_id = await world.server("web")
    await world.do(world.place(server_id))
    lost = 0

    def lose(method: str) -> None:
        nonlocal lost
        lost += 1
        if lost <= 2:
            raise DeadlineExceededError("no answer in time")

    rpc.after = lose
    assert await propose(remote, observed(server_id, 2)) is True
    assert lost == 3


async def test_no_conductor(world: StoreWorld, rpc: LoopRpc) -> None:
    remote = RemoteState(rpc, lambda: None, TickingClock())
    with pytest.raises(NoQuorumError):
        await propose(remote, host_register(HOST_A, "host-a"))
    with pytest.raises(NoQuorumError):
        await remote.read(ListRoleGrants())


async def test_the_deadline_says_whether_it_may_be_done(rpc: LoopRpc, remote: HardState) -> None:
    def unreachable(method: str) -> None:
        raise PeerUnreachableError("gone")

    rpc.before = unreachable
    with pytest.raises(NoQuorumError):
        await propose(remote, host_register(HOST_A, "host-a"))

    def silent(method: str) -> None:
        raise DeadlineExceededError("silent")

    rpc.before = silent
    with pytest.raises(DeadlineExceededError):
        await propose(remote, host_register(HOST_A, "host-a"))


async def test_a_host_cannot_spend_anothers_request_ids(world: StoreWorld, rpc: LoopRpc) -> None:
    other = LoopRpc(HOST_B)
    StateService(world.engine, other, NAMES.get, anyone)
    one = RemoteState(rpc, lambda: CONDUCTOR, ManualClock())
    two = RemoteState(other, lambda: CONDUCTOR, ManualClock())
    await asyncio.gather(
        propose(one, host_register(HOST_A, "host-a"), "req-x"),
        propose(two, host_register(HOST_B, "host-b"), "req-x"),
    )


async def test_a_host_registers_under_its_own_name_only(world: StoreWorld, remote: HardState) -> None:
    before = world.engine.applied_index
    with pytest.raises(CommandRejectedError, match="named host-a in its certificate") as caught:
        await propose(remote, host_register(HOST_A, "host-c"))
    assert caught.value.reason == "forbidden"
    assert world.engine.applied_index == before


async def test_a_node_that_is_no_member_any_more_is_not_heard(world: StoreWorld) -> None:
    removed = LoopRpc(NodeId("d" * 32))
    StateService(world.engine, removed, NAMES.get, anyone)
    before = world.engine.applied_index
    with pytest.raises(CommandRejectedError, match="Only a member"):
        await propose(
            RemoteState(removed, lambda: CONDUCTOR, ManualClock()), host_register(removed.peer, "host-a")
        )
    with pytest.raises(CommandRejectedError, match="Only a member"):
        await RemoteState(removed, lambda: CONDUCTOR, ManualClock()).read(ListRoleGrants())
    assert world.engine.applied_index == before


async def test_of_two_processes_with_one_identity_only_the_owner_is_heard(world: StoreWorld) -> None:
    """A copy of a state directory on another machine: it neither reports nor learns what to run."""
    true, copy = Process(b"trueboot", "tcp://host-a:7400"), Process(b"copyboot", "tcp://elsewhere:7400")
    owned = member_named("host-a")
    owned = replace(owned, record=replace(owned.record, boot_id=true.boot_id, endpoint=true.endpoint))
    asks = LoopRpc(HOST_A)
    StateService(world.engine, asks, NAMES.get, lambda peer, process: need_owner(owned, process, 0))
    owner, other = (RemoteState(asks, lambda: CONDUCTOR, TickingClock(), process) for process in (true, copy))
    server_id = await world.server("web")
    await world.do(world.place(server_id))
    await propose(owner, host_register(HOST_A, "host-a"))
    before = world.engine.applied_index
    for number, command in enumerate((host_register(HOST_A, "host-a", vcpus=0), observed(server_id, None))):
        with pytest.raises(OwnerUnclearError, match="lives at tcp://host-a:7400"):
            await propose(other, command, f"copy-{number}")
    with pytest.raises(OwnerUnclearError):
        await other.read(GetAssignments(host_id=HOST_A))
    assert world.engine.applied_index == before
    assert len((await owner.read(GetAssignments(host_id=HOST_A))).servers) == 1


async def test_a_process_that_cannot_be_is_refused(world: StoreWorld, rpc: LoopRpc) -> None:
    register = command_to_plain(host_register(HOST_A, "host-a"))
    body: dict[str, Plain] = {"command": register, "request_id": "r"}
    no_boot: Plain = {"boot_id": b"", "endpoint": "x"}
    for said in ("me", no_boot, {"boot_id": b"x"}, {"boot_id": b"x", "endpoint": ""}):
        with pytest.raises(RemoteError, match="process"):
            await rpc.call(CONDUCTOR, "state.propose", {**body, "process": said}, timeout_ms=1)

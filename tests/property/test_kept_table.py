"""Any order of commands, told or not, before, between and during looks: a kept host table is the one that
would be made of all rows now. Real handlers, real queries."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from fabric.core.membership.model import Load, Member, MemberState
from fabric.core.placement.choose import choose, claim
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.policy import policy_of
from fabric.core.placement.queries import ListHostFacts, ListPlacementRequests
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.queries import Applied, AppliedEntry, Consistency, Listener, Query
from fabric.core.servers.model import Server
from fabric.core.servers.queries import ListServers
from fabric.core.topology.facts import write_facts
from fabric.core.topology.model import Affinity, HostCell, HostDevice, HostTopology
from fabric.runtime.host_view import around_of, made_table
from fabric.runtime.kept_table import LOOK_MS, KeptTable
from fabric.store.apply import Outcome
from proto.commands import Command
from proto.commands.catalog import FlavorUpdate, ImageDelete
from proto.commands.networks import PortDelete
from proto.commands.nodes import HostUpdate, JoinTokenCreate, NodeRemove
from proto.commands.providers import ClassInventory, HostOffers, ResourceClassRename
from proto.commands.servers import (
    ServerAct,
    ServerExpire,
    ServerObserved,
    ServerPin,
    ServerUnplaceable,
    ServerUpdate,
)
from proto.ids import LogIndex, NodeId, PortId, RequestId, TokenId
from tests.fixtures.compute_doubles import FleetDouble
from tests.fixtures.store_world import (
    FLAVOR,
    START_MS,
    ManualClock,
    host_register,
    image_activate,
    image_create,
    node_admit,
)
from tests.property.test_moves import MovingMachine
from tests.property.test_where_servers_go import HOSTS, NUMBERS, hosts, picks

T = TypeVar("T")

POLICY = policy_of(PlacementSettings())
JOINING = tuple(NodeId(digit * 32) for digit in "def")
IMAGES = ("image-1", "image-2")
TOKEN = TokenId("t" * 32)

WISH = {"hw:numa_nodes": "1", "pci_passthrough:alias": "gpu:1"}
TOLD = write_facts(  # room for all the servers that there are
    HostTopology(
        cells=tuple(HostCell(cell_id=number, memory_mb=1 << 16, shared=64) for number in range(2)),
        devices=tuple(
            HostDevice(
                address=f"0000:80:{number:02x}.0", aliases={"gpu": Affinity.LEGACY}, cell_id=number % 2
            )
            for number in range(12)
        ),
    )
)
some_hosts = st.sampled_from([*sorted(HOSTS), *JOINING])
images = st.sampled_from(IMAGES)
few = st.integers(0, 3)


class Fleet(FleetDouble):
    """Tells of states, as fleets do, and of loads not."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(HOSTS, MemberState.ALIVE))
        self.loads: dict[NodeId, Load] = {}
        self.listeners: list[Callable[[Member], None]] = []

    def member(self, node_id: NodeId) -> Member | None:
        member = super().member(node_id)
        return None if member is None else replace(member, load=self.loads.get(node_id, Load()))

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def set_state(self, node_id: NodeId, state: MemberState) -> None:
        self.states[node_id] = state
        member = self.member(node_id)
        assert member is not None
        for listener in self.listeners:
            listener(member)


class FoldState:
    """A HardState over rows in memory. `meanwhile` happens behind the next read, before it is answered."""

    applied_index = LogIndex(0)

    def __init__(self, ask: Callable[[Any], Any]) -> None:
        self.passed_over = 0
        self.meanwhile: Callable[[], None] | None = None
        self._ask = ask
        self._listeners: list[Listener] = []

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        raise AssertionError("nobody proposes here")

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        found: T = self._ask(query)
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()
        return found

    async def catch_up(self) -> None:
        """All was told when it was applied."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tell(self, command: Command, outcome: Outcome) -> None:
        entry = AppliedEntry(outcome.index, command, Applied(outcome.index, outcome.result))
        for listener in tuple(self._listeners):
            listener(entry)


class KeptTables(MovingMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet()
        self.state = FoldState(self.fold.ask)
        self.clock = ManualClock()
        self.kept = KeptTable(self.state, self.fleet, self.clock, looked_at_min=0)
        self.kept.listen()
        self.failures: dict[NodeId, int] = {}
        self.is_silent = False  # nobody is told
        self.is_looking = True  # before each command, so that its own news are all there are
        self.looks = [0, 0]  # at what was kept, at all anew

    def do(self, command: Command) -> Outcome:
        if self.is_looking and not self.is_silent:
            run(self.kept.look((), self.failures))
        outcome = super().do(command)
        if outcome.rejection is None and not self.is_silent:
            self.state.tell(command, outcome)
        return outcome

    @initialize()
    def join_more(self) -> None:
        token = JoinTokenCreate(token_id=TOKEN, secret_hash=b"h" * 32, expires_ms=START_MS + 1, uses=99)
        self.do(token)
        self.do(FlavorUpdate(flavor_id=FLAVOR, extra_specs_set=WISH))
        for host_id in sorted(HOSTS):
            self.do(HostOffers(host_id=host_id, facts=TOLD))

    @rule(is_looking=st.booleans())
    def look_often(self, is_looking: bool) -> None:
        self.is_looking = is_looking

    # ---- what may happen to hosts

    @rule(host_id=some_hosts, vcpus=st.integers(2, 4), zone=st.sampled_from(["nova", "south"]))
    def register(self, host_id: NodeId, vcpus: int, zone: str) -> None:
        self.do(node_admit(host_id, token_id=TOKEN))
        self.do(host_register(host_id, host_id[:1], vcpus=vcpus, zone=zone))

    @rule(host_id=st.sampled_from(JOINING))
    def remove(self, host_id: NodeId) -> None:
        self.register(host_id, 2, "nova")
        self.do(NodeRemove(node_id=host_id))

    @rule(host_id=some_hosts, enabled=st.none() | st.booleans(), forced_down=st.none() | st.booleans())
    def switch(self, host_id: NodeId, enabled: bool | None, forced_down: bool | None) -> None:
        self.do(HostUpdate(host_id=host_id, enabled=enabled, forced_down=forced_down))

    @rule(host_id=hosts, total=few, name=st.sampled_from(["CUSTOM_GPU", "CUSTOM_FPGA"]))
    def offer(self, host_id: NodeId, total: int, name: str) -> None:
        inventories = {name: ClassInventory(total=total)} if total else {}
        told = TOLD if total else {}
        offer = HostOffers(host_id=host_id, inventories=inventories, traits=(f"CUSTOM_T{total}",), facts=told)
        self.do(offer)
        self.do(ResourceClassRename(name="CUSTOM_GPU", to="CUSTOM_FPGA"))

    @rule(image_id=images, host_id=hosts)
    def upload(self, image_id: str, host_id: NodeId) -> None:
        self.do(ImageDelete(image_id=image_id))  # type: ignore[arg-type]
        self.do(image_create(image_id))
        self.do(image_activate(image_id, node_id=host_id))

    @rule(image_id=images)
    def forget_image(self, image_id: str) -> None:
        self.do(ImageDelete(image_id=image_id))  # type: ignore[arg-type]

    # ---- what may happen to servers

    @rule(pick=picks, power=st.sampled_from(["running", "shutdown"]), left_nothing=st.booleans())
    def observe(self, pick: int, power: str, left_nothing: bool) -> None:
        for server in self.one_server(pick, is_placed=True):
            told = ServerObserved(
                server_id=server.server_id,
                host_id=server.host_id or NodeId(""),
                generation=server.action_generation,
                power_state=power,
                fault_message="broke" if left_nothing else None,
                left_nothing=left_nothing,
            )
            self.do(told)

    @rule(pick=picks, verb=st.sampled_from(["stop", "delete"]), is_late=st.booleans())
    def act(self, pick: int, verb: str, is_late: bool) -> None:
        self.boot(pick, "pairs", sorted(HOSTS)[pick % len(HOSTS)])
        for server in self.one_server(pick, is_placed=True):
            server_id = server.server_id
            self.do(ServerUpdate(server_id=server_id, description=verb))
            self.do(ServerPin(server_id=server_id, zone="nova"))
            self.do(ServerAct(server_id=server_id, verb=verb, request_id=RequestId("r"), deadline_ms=1))
            (now,) = (each for each in self.servers() if each.server_id == server_id)
            if is_late:
                self.do(ServerExpire(server_id=server_id, generation=now.generation, reason="late"))

    def servers(self) -> list[Server]:
        return [view.server for view in self.fold.ask(ListServers())]

    def one_server(self, pick: int, *, is_placed: bool) -> list[Server]:
        found = [server for server in self.servers() if (server.host_id is not None) is is_placed]
        return [found[pick % len(found)]] if found else []

    @rule(pick=picks)
    def give_up(self, pick: int) -> None:
        for server in self.one_server(pick, is_placed=False):
            self.do(PortDelete(port_id=PortId(f"p{server.server_id[1:]}")))
            self.do(
                ServerUnplaceable(
                    server_id=server.server_id,
                    fence=self.fence,
                    read_generation=server.generation,
                    message="no",
                )
            )

    # ---- what the fleet says, and what the user of the table does

    @rule(host_id=some_hosts, state=st.sampled_from(MemberState))
    def member_changes(self, host_id: NodeId, state: MemberState) -> None:
        self.fleet.set_state(host_id, state)

    @rule(host_id=hosts, word=few)
    def load_changes(self, host_id: NodeId, word: int) -> None:
        self.fleet.loads[host_id] = Load(extra={"word": str(word)})
        self.clock.advance(LOOK_MS)

    @rule(host_id=hosts, count=few)
    def builds_fail(self, host_id: NodeId, count: int) -> None:
        self.failures[host_id] = count

    @rule()
    def decide_and_forget(self) -> None:
        """What became of a proposal is not known, or it was refused."""
        self.create(NUMBERS[-1], None)
        table, requests = self.look()
        for request in requests:
            choice = choose(request, table, POLICY)
            if choice is not None:
                claim(request, choice.host_id, table)
                self.kept.doubt(choice.host_id)

    @rule(number=st.sampled_from(NUMBERS), host_id=hosts)
    def meanwhile(self, number: int, host_id: NodeId) -> None:
        """A look reads, and before it has the answer more is applied."""
        self.create(number, None)
        self.do(HostUpdate(host_id=host_id, disabled_reason="read it"))

        def more() -> None:
            self.is_looking = False  # nobody else does while it looks
            self.place(number, host_id)
            self.do(ImageDelete(image_id="image-2"))  # type: ignore[arg-type]

        self.state.meanwhile = more
        run(self.kept.look(()))
        self.state.meanwhile = None

    @rule(number=st.sampled_from(NUMBERS), host_id=hosts)
    def snapshot_comes(self, number: int, host_id: NodeId) -> None:
        self.is_silent = True
        self.boot(number, "pairs", host_id)
        self.switch(host_id, True, False)
        self.is_silent = False
        self.state.passed_over += 1

    @rule(number=st.sampled_from(NUMBERS))
    def a_read_fails(self, number: int) -> None:
        def fail() -> None:
            raise ConnectionError

        self.delete(number)
        self.state.meanwhile = fail
        with contextlib.suppress(ConnectionError):
            run(self.kept.look(self.fold.ask(ListPlacementRequests())))
        self.state.meanwhile = None

    # ---- what always holds; what the machine below looks at is not looked at here again

    def policies_hold(self) -> None: ...

    def no_server_changes_its_zone(self) -> None: ...

    def a_host_is_in_one_zone(self) -> None: ...

    def what_is_held_is_counted_once(self) -> None: ...

    def a_server_is_one_hosts_and_another_keeps_it_at_most(self) -> None: ...

    def groups_hold_at_both_ends(self) -> None: ...

    def replay_gives_the_same_rows(self) -> None: ...

    @invariant()
    def it_is_as_made_now(self) -> None:
        if not self.log:
            return
        kept, requests = self.look()
        fresh = run(self.fresh(requests))
        assert kept.hosts == fresh.hosts
        assert (kept.place, kept.around) == (fresh.place, fresh.around)
        assert (kept.group_counts, kept.server_places) == (fresh.group_counts, fresh.server_places)
        for name in ("can_take", "servers", "io_ops", "build_failures", "version", "hashes"):
            assert np.array_equal(getattr(kept, name), getattr(fresh, name)), name
        for name in kept.room:
            assert np.array_equal(kept.room_of(name), fresh.room_of(name)), name
            assert np.array_equal(kept.free[name], fresh.free[name]), name
        for key, (column, make) in kept._columns.items():
            assert list(column) == [make(facts) for facts in fresh.hosts], key
        for request in requests:
            assert choose(request, kept, POLICY) == choose(request, fresh, POLICY)

    def look(self) -> tuple[HostTable, tuple[PlacementRequest, ...]]:
        requests = self.fold.ask(ListPlacementRequests())
        table, is_new = run(self.kept.look(requests, self.failures))
        self.looks[is_new] += 1
        return table, requests

    async def fresh(self, requests: tuple[PlacementRequest, ...]) -> HostTable:
        rows = await self.state.read(ListHostFacts())
        around = await self.state.read(around_of(requests))
        return await made_table(
            ((facts, self.fleet.member(facts.host.host_id)) for facts in rows), around, self.failures
        )

    def teardown(self) -> None:
        try:
            assert self.looks[0] >= self.looks[1] // 4 or sum(self.looks) < 20, self.looks  # it is kept
        finally:
            super().teardown()


def run(work: Coroutine[Any, Any, T]) -> T:
    """To its end: it waits for nothing but its turn."""
    try:
        while True:
            work.send(None)
    except StopIteration as end:
        result: T = end.value
        return result


KeptTables.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestKeptTables = KeptTables.TestCase

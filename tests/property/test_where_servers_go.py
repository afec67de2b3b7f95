"""Any order of commands about groups, aggregates and placements: policies hold, no server's zone ever
changes, members are servers, and replaying the log in groups of any size gives the same rows."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import select, update

from fabric.core.aggregates.queries import ListAggregates
from fabric.core.nodes.queries import ListHosts
from fabric.core.server_groups.queries import ListServerGroups
from fabric.core.servers.queries import ListServers
from fabric.store import tables as t
from fabric.store.apply import Entry, Outcome
from fabric.store.framing import hash_bytes
from fabric.store.revisions import REVISIONS
from fabric.store.tables.by_level import ADDED
from proto.commands import Command, decode_command, encode_command
from proto.commands.aggregates import (
    AggregateAddHost,
    AggregateCreate,
    AggregateDelete,
    AggregateRemoveHost,
    AggregateSetMetadata,
    AggregateUpdate,
)
from proto.commands.identity import ProjectCreate
from proto.commands.networks import FixedIpChoice, NetworkCreate, PortSpec
from proto.commands.nodes import RoleHold
from proto.commands.quotas import QuotaSet
from proto.commands.server_groups import ServerGroupCreate, ServerGroupDelete
from proto.commands.servers import ServerAct, ServerCreateHinted, ServerPlace, ServerRemoved
from proto.ids import Fence, LogIndex, NodeId, PortId, RequestId, ServerGroupId, ServerId
from tests.fixtures.store_world import (
    DOMAIN,
    FLAVOR,
    HOST_A,
    HOST_B,
    IMAGE,
    NETWORK,
    NODE,
    PROJECT,
    START_MS,
    SUBNET,
    USER,
    fabric_init,
    flavor_create,
    host_register,
    image_activate,
    image_create,
    node_admit,
    subnet_create,
)
from tests.property.test_store_fold import Fold

HOST_C = NodeId("c" * 32)
HOSTS = {HOST_A: "a", HOST_B: "b", HOST_C: "c"}
POLICIES: dict[str, tuple[str, int | None]] = {
    "apart": ("anti-affinity", None),
    "pairs": ("anti-affinity", 2),
    "together": ("affinity", None),
}
NUMBERS = range(8)  # of servers
ZONES = ("north", "south", "nova")  # the last is what hosts say of themselves

hosts, groups = st.sampled_from(sorted(HOSTS)), st.sampled_from(sorted(POLICIES))
zones, picks, numbers = st.sampled_from(ZONES), st.integers(0, 5), st.sampled_from(NUMBERS)


class NewestFold(Fold):
    """At the newest level."""

    def __init__(self) -> None:
        super().__init__()
        with self.connection.begin():
            for level in sorted(REVISIONS):
                REVISIONS[level].run(self.connection)
                self.connection.execute(update(t.position).values(level=level))

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        rows = super().dump()
        with self.connection.begin():
            return rows | {
                table.name: sorted(map(tuple, self.connection.execute(select(table))), key=repr)
                for added in ADDED.values()
                for table in added.sorted_tables
            }


class PlacingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fold = NewestFold()
        self.log: list[Entry] = []
        self.fence = Fence(0)

    def teardown(self) -> None:
        try:
            self.replay_gives_the_same_rows()
        finally:
            self.fold.close()

    def do(self, command: Command) -> Outcome:
        body = encode_command(command)
        index = LogIndex(len(self.log) + 1)
        entry = Entry(index, START_MS, RequestId(f"req-{index}"), hash_bytes(body), decode_command(body))
        self.log.append(entry)
        (outcome,) = self.fold.apply([entry])
        if outcome.rejection is not None:
            assert "could not apply" not in outcome.rejection[1], command  # a handler of ours broke
            assert "collides" not in outcome.rejection[1], command
        return outcome

    @initialize()
    def found(self) -> None:
        for command in (
            fabric_init(),
            ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name="demo"),
            flavor_create(),
            image_create(),
            image_activate(),
            NetworkCreate(network_id=NETWORK, project_id=PROJECT, name="net"),
            subnet_create(),
            node_admit(),
            *(host_register(host_id, name) for host_id, name in HOSTS.items()),
            QuotaSet(project_id=PROJECT, limits={"server_group_members": 4}),
            *(self.group(name) for name in POLICIES),
            AggregateCreate(uuid="uuid-x", name="x", availability_zone="north"),
            AggregateAddHost(aggregate_id=1, host_id=HOST_A),
        ):
            assert self.do(command).rejection is None, command
        self.fence = Fence(self.do(RoleHold(role="scheduler", node_id=NODE)).index)

    def group(self, name: str) -> ServerGroupCreate:
        policy, most = POLICIES[name]
        return ServerGroupCreate(
            group_id=ServerGroupId(name),
            project_id=PROJECT,
            user_id=USER,
            name=name,
            policy=policy,
            max_server_per_host=most,
        )

    # ---- servers

    @rule(number=numbers, name=st.none() | groups)
    def create(self, number: int, name: str | None) -> None:
        port = PortSpec(
            port_id=PortId(f"p{number}"),
            network_id=NETWORK,
            project_id=PROJECT,
            mac=f"fa:16:3e:00:00:{number:02x}",
            fixed_ips=(FixedIpChoice(SUBNET, f"10.0.0.{10 + number}"),),
        )
        self.do(
            ServerCreateHinted(
                server_id=ServerId(f"s{number}"),
                project_id=PROJECT,
                user_id=USER,
                request_id=RequestId("r"),
                name="web",
                hostname="web",
                flavor_id=FLAVOR,
                image_id=IMAGE,
                new_ports=(port,),
                deadline_ms=START_MS + 500,
                group_id=None if name is None else ServerGroupId(name),
                hints={"k": "v"},
            )
        )

    @rule(number=numbers, host_id=hosts)
    def place(self, number: int, host_id: NodeId) -> None:
        server_id = ServerId(f"s{number}")
        self.do(ServerPlace(server_id=server_id, host_id=host_id, fence=self.fence, read_generation=1))

    @rule(number=numbers, name=groups, host_id=hosts)
    def boot(self, number: int, name: str, host_id: NodeId) -> None:
        """The common way, so that groups do fill up."""
        self.create(number, name)
        self.place(number, host_id)

    @rule(number=numbers)
    def delete(self, number: int) -> None:
        server_id = ServerId(f"s{number}")
        self.do(
            ServerAct(server_id=server_id, verb="delete", request_id=RequestId("r"), deadline_ms=START_MS + 1)
        )
        for host_id in HOSTS:
            self.do(ServerRemoved(server_id=server_id, host_id=host_id))

    @rule(name=groups)
    def start_a_group_anew(self, name: str) -> None:
        """What its servers were put beside is of no account any more."""
        self.do(ServerGroupDelete(group_id=ServerGroupId(name)))
        self.do(self.group(name))

    # ---- aggregates

    @rule(name=st.sampled_from("xyz"), zone=st.none() | zones)
    def aggregate(self, name: str, zone: str | None) -> None:
        self.do(AggregateCreate(uuid=f"uuid-{name}-{len(self.log)}", name=name, availability_zone=zone))

    @rule(pick=picks, host_id=hosts)
    def add_host(self, pick: int, host_id: NodeId) -> None:
        number = self.existing(pick)
        self.do(AggregateAddHost(aggregate_id=number, host_id=host_id))

    @rule(pick=picks, host_id=hosts)
    def remove_host(self, pick: int, host_id: NodeId) -> None:
        number = self.existing(pick)
        self.do(AggregateRemoveHost(aggregate_id=number, host_id=host_id))

    @rule(pick=picks, zone=zones, by_metadata=st.booleans())
    def rezone(self, pick: int, zone: str, by_metadata: bool) -> None:
        number = self.existing(pick)
        if by_metadata:
            self.do(AggregateSetMetadata(aggregate_id=number, changes={"availability_zone": zone}))
        else:
            self.do(AggregateUpdate(aggregate_id=number, availability_zone=zone))

    @rule(pick=picks)
    def drop_aggregate(self, pick: int) -> None:
        self.do(AggregateDelete(aggregate_id=self.existing(pick)))

    def existing(self, pick: int) -> int:
        found = self.fold.ask(ListAggregates())
        return int(found[pick % len(found)].aggregate_id) if found else pick

    # ---- what always holds

    @invariant()
    def policies_hold(self) -> None:
        placed = {view.server.server_id: view.server.host_id for view in self.fold.ask(ListServers())}
        for group in self.fold.ask(ListServerGroups()):
            assert set(group.member_ids) <= placed.keys()
            used = Counter(placed[member] for member in group.member_ids if placed[member])
            assert len(group.member_ids) <= 4
            if group.policy == "affinity":
                assert len(used) <= 1
            else:
                assert all(count <= (group.max_server_per_host or 1) for count in used.values())

    @invariant()
    def no_server_changes_its_zone(self) -> None:
        """A port remembers the zone that its server was placed in."""
        for view in self.fold.ask(ListServers()):
            if view.server.host_id is not None:
                assert [port.device_owner for port in view.ports] == [f"compute:{view.server.zone}"]

    @invariant()
    def a_host_is_in_one_zone(self) -> None:
        named: dict[str, set[str | None]] = {host_id: {None} for host_id in HOSTS}
        for aggregate in self.fold.ask(ListAggregates()):
            for host_id in aggregate.host_ids:
                named[host_id].add(aggregate.availability_zone)
        for usage in self.fold.ask(ListHosts()):
            (zone,) = (named[usage.host.host_id] - {None}) or {"nova"}
            assert usage.host.zone == zone

    def replay_gives_the_same_rows(self) -> None:
        for size in (1, 7, max(len(self.log), 1)):
            again = NewestFold()
            try:
                for start in range(0, len(self.log), size):
                    again.apply(self.log[start : start + size])
                assert again.dump() == self.fold.dump()
            finally:
                again.close()


PlacingMachine.TestCase.settings = settings(
    max_examples=10,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPlacing = PlacingMachine.TestCase

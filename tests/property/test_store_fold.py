"""Any order of commands: never over capacity or quota, no address twice, nothing dangling, and replaying
the log into empty tables, in groups of any size, gives the same rows."""

from __future__ import annotations

from typing import Any

import sqlalchemy
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from sqlalchemy import Connection, event, select
from sqlalchemy.pool import StaticPool

from fabric.core.nodes.queries import ListHosts
from fabric.core.quotas.model import GetQuotas
from fabric.core.servers.queries import GetAssignments, ListServers
from fabric.core.servers.states import VmState
from fabric.store import tables as t
from fabric.store.apply import Entry, Outcome, advance, apply_group
from fabric.store.framing import hash_bytes
from fabric.store.query import answer
from fabric.store.schema import create_schema
from proto.commands import Command, decode_command, encode_command
from proto.commands.catalog import FlavorCreate, FlavorDelete, FlavorUpdate, ImageDelete
from proto.commands.identity import ProjectCreate, UserCreate
from proto.commands.networks import (
    FixedIpChoice,
    NetworkCreate,
    PortCreate,
    PortDelete,
    PortSpec,
    SecurityGroupCreate,
    SecurityGroupDelete,
    SubnetDelete,
)
from proto.commands.nodes import HostUpdate, RoleHold
from proto.commands.quotas import QuotaSet
from proto.commands.servers import (
    ServerAct,
    ServerCreate,
    ServerExpire,
    ServerObserved,
    ServerPlace,
    ServerRemoved,
)
from proto.ids import (
    Fence,
    FlavorId,
    LogIndex,
    NodeId,
    PortId,
    ProjectId,
    RequestId,
    SecurityGroupId,
    ServerId,
)
from tests.fixtures.store_world import (
    DOMAIN,
    FLAVOR,
    GROUP,
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

SERVERS = [ServerId(f"s{number}") for number in range(6)]
PORTS = [PortId(f"p{number}") for number in range(4)]
HOSTS = [HOST_A, HOST_B]
FLAVORS = [FLAVOR, "large"]

picks = st.integers(0, 5)  # one of the servers there are, see `existing`
servers, ports, hosts = st.sampled_from(SERVERS), st.sampled_from(PORTS), st.sampled_from(HOSTS)
seldom = st.integers(0, 9).map(lambda number: number == 9)
small = st.integers(0, 5)


class Fold:
    """Entries into a database in memory."""

    def __init__(self) -> None:
        engine = sqlalchemy.create_engine(
            "sqlite://", poolclass=StaticPool, connect_args={"isolation_level": None}
        )

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            connection.exec_driver_sql("BEGIN")

        self.connection = engine.connect()
        with self.connection.begin():
            create_schema(self.connection)

    def apply(self, entries: list[Entry]) -> list[Outcome]:
        with self.connection.begin():
            outcomes = apply_group(self.connection, entries)
            last = entries[-1]
            advance(self.connection, index=last.index, term=1, configuration=b"", time_ms=last.time_ms)
        return outcomes

    def ask(self, query: Any) -> Any:
        with self.connection.begin():
            return answer(self.connection, query)

    def dump(self) -> dict[str, list[tuple[Any, ...]]]:
        with self.connection.begin():
            return {
                table.name: sorted(map(tuple, self.connection.execute(select(table))), key=repr)
                for table in t.metadata.sorted_tables
            }

    def close(self) -> None:
        self.connection.close()
        self.connection.engine.dispose()


class StoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fold = Fold()
        self.log: list[Entry] = []
        self.now_ms = START_MS
        self.fence = 0

    def teardown(self) -> None:
        try:
            self.replay_gives_the_same_rows()
        finally:
            self.fold.close()

    def do(self, command: Command, request: str | None = None) -> Outcome:
        body = encode_command(command)
        index = LogIndex(len(self.log) + 1)
        request_id = RequestId(request or f"req-{index}")
        entry = Entry(index, self.now_ms, request_id, hash_bytes(body), decode_command(body))
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
            UserCreate(user_id=USER, domain_id=DOMAIN, name="demo"),
            flavor_create(),
            FlavorCreate(
                flavor_id="large",
                name="large",
                vcpus=3,
                memory_mb=3_000,
                root_gb=30,
                swap_mb=100,  # type: ignore[arg-type]
            ),
            image_create(),
            image_activate(),
            NetworkCreate(network_id=NETWORK, project_id=PROJECT, name="net"),
            subnet_create(),
            SecurityGroupCreate(security_group_id=GROUP, project_id=PROJECT, name="g"),
            node_admit(),
            host_register(HOST_A, "a", cpu_ratio_milli=1_500, memory_mb=4_000, memory_ratio_milli=1_000),
            host_register(HOST_B, "b", disk_gb=40),
            QuotaSet(project_id=PROJECT, limits={"instances": 3, "cores": 7, "port": 5}),
        ):
            assert self.do(command).rejection is None, command
        self.hold()

    @rule(ms=st.integers(0, 400))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def hold(self) -> None:
        self.fence = int(self.do(RoleHold(role="scheduler", node_id=NODE)).index)

    @rule(server_id=servers, flavor=st.sampled_from(FLAVORS), address=small, mac=small, bound=st.booleans())
    def create(self, server_id: ServerId, flavor: str, address: int, mac: int, bound: bool) -> None:
        self.made(server_id, flavor, address, mac, bound)

    def made(self, server_id: ServerId, flavor: str, address: int, mac: int, bound: bool) -> bool:
        free = self.free_ports()[:1] if bound else ()
        outcome = self.do(
            ServerCreate(
                server_id=server_id,
                project_id=PROJECT,
                user_id=USER,
                request_id=RequestId("r"),
                name=server_id,
                hostname=server_id,
                flavor_id=FlavorId(flavor),
                image_id=IMAGE,
                new_ports=(self.spec(f"{server_id}-port", address, mac),),
                existing_port_ids=free,
                deadline_ms=self.now_ms + 500,
            )
        )
        return outcome.rejection is None

    @rule(server_id=servers, flavor=st.sampled_from(FLAVORS), host_id=hosts)
    def boot(self, server_id: ServerId, flavor: str, host_id: NodeId) -> None:
        """The common way, so that hosts and quotas do fill up."""
        number = SERVERS.index(server_id)
        if self.made(server_id, flavor, number, number, True):
            self.place(server_id, host_id, False, False)
            self.observe(server_id, host_id, "running", True, None)

    @rule(pick=picks)
    def delete_for_good_rule(self, pick: int) -> None:
        self.delete_for_good(self.existing(pick))

    def delete_for_good(self, server_id: ServerId) -> None:
        self.act(server_id, "delete")
        for host_id in HOSTS:
            self.removed(server_id, host_id)

    def existing(self, pick: int) -> ServerId:
        with self.fold.connection.begin():
            ids = select(t.servers.c.server_id).order_by(t.servers.c.server_id)
            found = list(self.fold.connection.execute(ids).scalars())
        return ServerId(found[pick % len(found)]) if found else SERVERS[pick]

    def free_ports(self) -> tuple[PortId, ...]:
        with self.fold.connection.begin():
            found = select(t.ports.c.port_id).where(t.ports.c.device_id == "").order_by(t.ports.c.port_id)
            return tuple(self.fold.connection.execute(found).scalars())

    def spec(self, port_id: str, address: int, mac: int) -> PortSpec:
        return PortSpec(
            port_id=PortId(port_id),
            network_id=NETWORK,
            project_id=PROJECT,
            mac=f"fa:16:3e:00:00:{mac:02x}",
            fixed_ips=(FixedIpChoice(SUBNET, f"10.0.0.{10 + address}"),),
            security_group_ids=(GROUP,),
        )

    @rule(port_id=ports, address=small, mac=small)
    def create_port(self, port_id: PortId, address: int, mac: int) -> None:
        self.do(PortCreate(port=self.spec(port_id, address, mac)))

    @rule(port_id=ports)
    def delete_port(self, port_id: PortId) -> None:
        self.do(PortDelete(port_id=port_id))

    @rule(pick=picks, host_id=hosts, stale=seldom, fenced=seldom)
    def place_rule(self, pick: int, host_id: NodeId, stale: bool, fenced: bool) -> None:
        self.place(self.existing(pick), host_id, stale, fenced)

    def place(self, server_id: ServerId, host_id: NodeId, stale: bool, fenced: bool) -> None:
        generation = self.column(server_id, "generation") + (1 if stale else 0)
        fence = Fence(self.fence - (1 if fenced else 0))
        outcome = self.do(
            ServerPlace(server_id=server_id, host_id=host_id, fence=fence, read_generation=generation)
        )
        if stale or fenced:
            assert outcome.rejection is not None

    @rule(host_id=hosts, enabled=st.booleans())
    def enable(self, host_id: NodeId, enabled: bool) -> None:
        self.do(HostUpdate(host_id=host_id, enabled=enabled))

    @rule(pick=picks, verb=st.sampled_from(["start", "stop", "reboot_soft", "reboot_hard", "delete"]))
    def act_rule(self, pick: int, verb: str) -> None:
        self.act(self.existing(pick), verb)

    def act(self, server_id: ServerId, verb: str) -> None:
        deadline_ms = self.now_ms + 500
        self.do(ServerAct(server_id=server_id, verb=verb, request_id=RequestId("r"), deadline_ms=deadline_ms))

    @rule(
        pick=picks,
        host_id=hosts,
        power=st.sampled_from(["running", "running", "shutdown", "crashed", "paused", "nostate"]),
        own=st.booleans(),
        fault=st.sampled_from([None, None, None, "broke"]),
    )
    def observe_rule(self, pick: int, host_id: NodeId, power: str, own: bool, fault: str | None) -> None:
        self.observe(self.existing(pick), host_id, power, own, fault)

    def observe(self, server_id: ServerId, host_id: NodeId, power: str, own: bool, fault: str | None) -> None:
        generation = self.column(server_id, "action_generation") if own else None
        self.do(
            ServerObserved(
                server_id=server_id,
                host_id=host_id,
                generation=generation,
                power_state=power,
                fault_message=fault,
            )
        )

    @rule(pick=picks, host_id=hosts)
    def removed_rule(self, pick: int, host_id: NodeId) -> None:
        self.removed(self.existing(pick), host_id)

    def removed(self, server_id: ServerId, host_id: NodeId) -> None:
        self.do(ServerRemoved(server_id=server_id, host_id=host_id))

    @rule(pick=picks)
    def expire_rule(self, pick: int) -> None:
        self.expire(self.existing(pick))

    def expire(self, server_id: ServerId) -> None:
        generation = self.column(server_id, "generation")
        self.do(ServerExpire(server_id=server_id, generation=generation, reason="late"))

    @rule()
    def pull_the_rug(self) -> None:
        self.do(SubnetDelete(subnet_id=SUBNET))
        self.do(subnet_create())
        self.do(SecurityGroupDelete(security_group_id=SecurityGroupId(GROUP)))
        self.do(SecurityGroupCreate(security_group_id=GROUP, project_id=PROJECT, name="g"))

    @rule(server_id=servers, number=small)
    def change_what_a_create_names(self, server_id: ServerId, number: int) -> None:
        """In front of it and behind it, so that in a group it may not see what the one before it saw."""
        self.do(FlavorUpdate(flavor_id=FLAVOR, extra_specs_set={"number": str(number)}))
        self.made(server_id, FLAVOR, number, number, False)
        for taken, again in (
            (FlavorDelete(flavor_id=FLAVOR), flavor_create()),
            (ImageDelete(image_id=IMAGE), image_create()),
        ):
            self.do(taken)
            self.made(server_id, FLAVOR, number, number, False)
            self.do(again)

    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        entry = data.draw(st.sampled_from(self.log))
        before = {name: rows for name, rows in self.fold.dump().items() if name != "position"}
        self.log.append(
            Entry(LogIndex(len(self.log) + 1), self.now_ms, entry.request_id, entry.body_hash, entry.command)
        )
        (outcome,) = self.fold.apply([self.log[-1]])
        assert outcome.replayed
        assert {name: rows for name, rows in self.fold.dump().items() if name != "position"} == before

    def column(self, server_id: str, name: str) -> int:
        with self.fold.connection.begin():
            statement = select(t.servers.c[name]).where(t.servers.c.server_id == server_id)
            return int(self.fold.connection.execute(statement).scalar_one_or_none() or 0)

    @invariant()
    def no_host_is_over_its_capacity(self) -> None:
        for usage in self.fold.ask(ListHosts()):
            host = usage.host
            assert usage.vcpus_used <= host.vcpus * host.cpu_ratio_milli // 1_000
            assert usage.memory_mb_used <= host.memory_mb * host.memory_ratio_milli // 1_000
            assert usage.disk_gb_used <= host.disk_gb * host.disk_ratio_milli // 1_000

    @invariant()
    def usage_is_what_the_rows_say_and_within_the_limits(self) -> None:
        if not self.log:
            return
        rows = self.fold.dump()
        quotas = self.fold.ask(GetQuotas(project_id=ProjectId(PROJECT)))
        assert quotas.used["instances"] == len(rows["servers"])
        assert quotas.used["port"] == len(rows["ports"])
        for name in ("instances", "cores", "ram", "port"):
            assert quotas.used[name] <= quotas.limits[name]

    @invariant()
    def nothing_dangles(self) -> None:
        rows = self.fold.dump()
        names = {table.name: [column.name for column in table.columns] for table in t.metadata.sorted_tables}

        def values(table: str, column: str) -> list[Any]:
            at = names[table].index(column)
            return [row[at] for row in rows[table]]

        port_ids, server_ids = set(values("ports", "port_id")), set(values("servers", "server_id"))
        assert set(values("fixed_ips", "port_id")) <= port_ids
        assert set(values("port_security_groups", "port_id")) <= port_ids
        assert {device for device in values("ports", "device_id") if device} <= server_ids
        addresses = list(zip(values("fixed_ips", "subnet_id"), values("fixed_ips", "address"), strict=True))
        assert len(addresses) == len(set(addresses))
        assert len(values("ports", "mac")) == len(set(values("ports", "mac")))
        for nic, device in zip(values("ports", "nic"), values("ports", "device_id"), strict=True):
            assert (nic is None) == (device == "")

    @invariant()
    def states_make_sense(self) -> None:
        told = {host: set(self.fold.ask(GetAssignments(host_id=NodeId(host))).server_ids) for host in HOSTS}
        for view in self.fold.ask(ListServers()):
            server = view.server
            assert (server.task_state is None) == (server.deadline_ms is None)
            assert (server.vm_state is VmState.ERROR) == (server.fault is not None) or server.task_state
            assert server.action_generation <= server.generation
            assert (server.host_id is None) or server.server_id in told[server.host_id]

    def replay_gives_the_same_rows(self) -> None:
        for size in (1, 7, len(self.log)):
            again = Fold()
            try:
                for start in range(0, len(self.log), size):
                    again.apply(self.log[start : start + size])
                assert again.dump() == self.fold.dump()
            finally:
                again.close()


StoreMachine.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestStoreFold = StoreMachine.TestCase

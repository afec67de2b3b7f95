"""Any order of moves and reports among everything else that happens to servers: what a host holds is what its
servers and the other ends of open moves add up to, and nobody is over its limits or its group's."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from sqlalchemy import select

from fabric.core.moves.model import MOVING_TASKS, OPEN
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.claim import limits_of
from fabric.core.server_groups.queries import ListServerGroups
from fabric.core.servers.model import Server
from fabric.core.servers.queries import GetAssignments, ListServers
from fabric.core.servers.states import TaskState, VmState
from fabric.store.tables import level3
from proto.commands.moves import MoveBegin, MoveConfirm, MovePlace, MoveRevert, MoveUnplaceable
from proto.commands.servers import ServerExpire, ServerObserved
from proto.ids import NodeId, RequestId, ServerId
from tests.fixtures.store_world import START_MS, USER
from tests.property.test_where_servers_go import HOSTS, PlacingMachine, groups, hosts, numbers

_M = level3.moves.c


class MovingMachine(PlacingMachine):
    def server(self, number: int) -> Server | None:
        named = ServerId(f"s{number}")
        found = [view.server for view in self.fold.ask(ListServers())]
        return next((server for server in found if server.server_id == named), None)

    def placed(self, number: int) -> Server | None:
        server = self.server(number)
        return None if server is None or server.host_id is None else server

    def move_id(self, server: Server) -> str:
        asked = select(_M.move_id).where(_M.server_id == server.server_id, _M.is_open.is_(True))
        with self.fold.connection.begin():
            found = self.fold.connection.execute(asked).scalar()
        return found or "none"

    @rule(number=numbers, power=st.sampled_from(["running", "shutdown"]), breaks=st.booleans())
    def report(self, number: int, power: str, breaks: bool) -> None:
        server = self.placed(number)
        if server is not None and server.host_id is not None:
            told = ServerObserved(
                server_id=server.server_id,
                host_id=server.host_id,
                generation=server.action_generation,
                power_state=power,
                fault_message="broke" if breaks else None,
            )
            self.do(told)

    @rule(number=numbers, kind=st.sampled_from(["migration", "evacuation"]), stays_off=st.booleans())
    def begin(self, number: int, kind: str, stays_off: bool) -> None:
        server = self.placed(number)
        if server is not None and server.host_id is not None:
            self.do(
                MoveBegin(
                    move_id=f"m{len(self.log)}",
                    server_id=server.server_id,
                    kind=kind,
                    source_host_id=server.host_id,
                    user_id=USER,
                    request_id=RequestId("r"),
                    stays_off=stays_off,
                    deadline_ms=START_MS,
                    arrive_ms=0,
                )
            )

    @rule(number=numbers, host_id=hosts, fits=st.booleans())
    def place_move(self, number: int, host_id: NodeId, fits: bool) -> None:
        server = self.placed(number)
        if server is None:
            return
        same = {
            "move_id": self.move_id(server),
            "server_id": server.server_id,
            "fence": self.fence,
            "read_generation": server.generation,
        }
        self.do(MovePlace(**same, host_id=host_id) if fits else MoveUnplaceable(**same, message="none"))

    @rule(number=numbers, is_dest_gone=st.none() | st.booleans())
    def settle(self, number: int, is_dest_gone: bool | None) -> None:
        server_id = ServerId(f"s{number}")
        if is_dest_gone is None:
            self.do(MoveConfirm(server_id=server_id, request_id=RequestId("r")))
        else:
            back = MoveRevert(
                server_id=server_id,
                request_id=RequestId("r"),
                is_dest_gone=is_dest_gone,
                deadline_ms=START_MS,
            )
            self.do(back)

    @rule(number=numbers)
    def expire(self, number: int) -> None:
        server = self.server(number)
        if server is not None and server.task_state in MOVING_TASKS:
            late = ServerExpire(server_id=server.server_id, generation=server.generation, reason="late")
            self.do(late)

    @rule(number=numbers, name=groups, host_id=hosts, other=hosts, steps=st.integers(2, 5))
    def go(self, number: int, name: str, host_id: NodeId, other: NodeId, steps: int) -> None:
        """The common way, so far."""
        self.boot(number, name, host_id)
        self.report(number, "running", False)
        self.begin(number, "migration", False)
        for step in (
            lambda: self.place_move(number, other, True),
            lambda: self.report(number, "shutdown", False),
            lambda: self.report(number, "running", False),
        )[: steps - 1]:
            step()

    # ---- what always holds

    @invariant()
    def what_is_held_is_counted_once(self) -> None:
        if not self.log:
            return
        counted: Counter[str] = Counter()
        servers = {view.server.server_id: view.server for view in self.fold.ask(ListServers())}
        for server in servers.values():
            if server.host_id is not None:
                counted[server.host_id] += server.flavor.vcpus
        with self.fold.connection.begin():
            moves = self.fold.connection.execute(select(level3.moves)).all()
        for move in moves:
            assert move.is_open == (move.status in [status.value for status in OPEN])
            if move.held_host_id is not None:
                assert move.is_open, move
                counted[move.held_host_id] += move.vcpus
        for usage in self.fold.ask(ListHosts()):
            assert usage.vcpus_used == counted[usage.host.host_id], usage
            assert usage.vcpus_used <= limits_of(usage.host).vcpus, usage
        still_open = Counter(move.server_id for move in moves if move.is_open)
        assert all(count == 1 for count in still_open.values())
        assert still_open.keys() <= servers.keys()
        for server in servers.values():
            if server.task_state in MOVING_TASKS or server.vm_state is VmState.RESIZED:
                assert server.server_id in still_open, server
                assert server.task_state is not TaskState.SCHEDULING

    @invariant()
    def a_server_is_one_hosts_and_another_keeps_it_at_most(self) -> None:
        if not self.log:
            return
        running: Counter[ServerId] = Counter()
        parked: Counter[ServerId] = Counter()
        for host_id in HOSTS:
            told = self.fold.ask(GetAssignments(host_id=host_id))
            running.update(told.server_ids)
            parked.update(each.server_id for each in told.parked)
            assert not {each.server_id for each in told.parked} & set(told.server_ids)
        assert max(running.values(), default=1) == 1
        assert max(parked.values(), default=1) == 1
        assert parked.keys() <= running.keys()

    @invariant()
    def groups_hold_at_both_ends(self) -> None:
        if not self.log:
            return
        at = {view.server.server_id: view.server.host_id for view in self.fold.ask(ListServers())}
        held = select(_M.server_id, _M.held_host_id).where(_M.held_host_id.is_not(None))
        with self.fold.connection.begin():
            ends = self.fold.connection.execute(held).all()
        for group in self.fold.ask(ListServerGroups()):
            if group.policy == "anti-affinity":
                used = Counter(at[member] for member in group.member_ids if at[member])
                used.update(end.held_host_id for end in ends if end.server_id in group.member_ids)
                assert all(count <= (group.max_server_per_host or 1) for count in used.values()), group

    def no_server_changes_its_zone(self) -> None:
        """One that was bound to none may move to another; a port tells where its server is."""
        for view in self.fold.ask(ListServers()):
            if view.server.host_id is not None:
                assert [port.device_owner for port in view.ports] == [f"compute:{view.server.zone}"]
                assert {port.host_id for port in view.ports} <= {view.server.host_id}


MovingMachine.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
TestMoves = MovingMachine.TestCase

"""Twenty schedulers that look at different times and decide by what they saw then: no host is ever over its
limits, and no server group's policy is broken. Real handlers, real rows, the real choice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from fabric.core.membership.model import MemberState
from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.choose import choose, claim
from fabric.core.placement.claim import limits_of
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.policy import policy_of
from fabric.core.placement.queries import GetSurroundings, ListHostFacts, ListPlacementRequests
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings
from fabric.core.server_groups.queries import ListServerGroups
from fabric.core.servers.queries import ListServers
from fabric.store.apply import Entry, Outcome
from fabric.store.framing import hash_bytes
from proto.commands import Command, decode_command, encode_command
from proto.commands.identity import ProjectCreate
from proto.commands.nodes import HostUpdate, RoleHold
from proto.commands.quotas import QuotaSet
from proto.commands.server_groups import ServerGroupCreate
from proto.commands.servers import ServerAct, ServerCreateHinted, ServerPlace, ServerRemoved
from proto.ids import Fence, LogIndex, NodeId, RequestId, ServerGroupId, ServerId
from tests.fixtures.store_world import (
    DOMAIN,
    FLAVOR,
    HOST_A,
    HOST_B,
    IMAGE,
    NODE,
    PROJECT,
    START_MS,
    USER,
    fabric_init,
    flavor_create,
    host_register,
    image_activate,
    image_create,
    node_admit,
)
from tests.property.test_where_servers_go import NewestFold

HOSTS = (HOST_A, HOST_B, NodeId("c" * 32))
GROUPS = {"apart": ("anti-affinity", None), "pairs": ("anti-affinity", 2), "together": ("affinity", None)}
SCHEDULERS = 20
POLICY = policy_of(PlacementSettings())

schedulers, picks = st.integers(0, SCHEDULERS - 1), st.integers(0, 1 << 16)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scheduler read, once."""

    requests: tuple[PlacementRequest, ...]
    table: HostTable


class StaleSchedulers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.fold = NewestFold()
        self.index = 0
        self.fence = Fence(0)
        self.created = 0
        self.seen: dict[int, Seen] = {}

    def teardown(self) -> None:
        self.fold.close()

    def do(self, command: Command) -> Outcome:
        body = encode_command(command)
        self.index += 1
        request = RequestId(f"req-{self.index}")
        (outcome,) = self.fold.apply(
            [Entry(LogIndex(self.index), START_MS, request, hash_bytes(body), decode_command(body))]
        )
        if outcome.rejection is not None:
            assert "could not apply" not in outcome.rejection[1], command
        return outcome

    @initialize()
    def found(self) -> None:
        for command in (
            fabric_init(),
            ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name="demo"),
            flavor_create(vcpus=1, memory_mb=256, root_gb=1),
            image_create(),
            image_activate(),
            node_admit(),
            *(
                host_register(host_id, f"h{number}", vcpus=2, cpu_ratio_milli=1_000)
                for number, host_id in enumerate(HOSTS)
            ),
            QuotaSet(project_id=PROJECT, limits={"instances": -1, "cores": -1, "ram": -1}),
            *(
                ServerGroupCreate(
                    group_id=ServerGroupId(name),
                    project_id=PROJECT,
                    user_id=USER,
                    name=name,
                    policy=policy,
                    max_server_per_host=most,
                )
                for name, (policy, most) in GROUPS.items()
            ),
        ):
            assert self.do(command).rejection is None, command
        self.fence = Fence(self.do(RoleHold(role="scheduler", node_id=NODE)).index)

    @rule(group=st.sampled_from([None, *GROUPS]), count=st.integers(1, 3))
    def create(self, group: str | None, count: int) -> None:
        for _ in range(count):
            self.created += 1
            name = f"s{self.created}"
            command = ServerCreateHinted(
                server_id=ServerId(name),
                project_id=PROJECT,
                user_id=USER,
                request_id=RequestId(f"create-{name}"),
                name=name,
                hostname=name,
                flavor_id=FLAVOR,
                image_id=IMAGE,
                deadline_ms=START_MS + 600_000,
                group_id=None if group is None else ServerGroupId(group),
            )
            self.do(command)

    @rule(looking=st.sets(schedulers, min_size=1))
    def look(self, looking: set[int]) -> None:
        """All of them see the same, each in a table of its own."""
        requests = self.fold.ask(ListPlacementRequests())
        groups = tuple(sorted({each.group.group_id for each in requests if each.group is not None}))
        facts = [replace(each, state=MemberState.ALIVE) for each in self.fold.ask(ListHostFacts())]
        around = self.fold.ask(GetSurroundings(group_ids=groups))
        self.seen |= {scheduler: Seen(requests, HostTable(facts, around)) for scheduler in looking}

    @rule(pick=picks)
    def decide(self, pick: int) -> None:
        """One of them, by what it saw when it last looked; some of it, in an order of its own."""
        if not self.seen:
            return
        rng = Random(pick)
        seen = self.seen[sorted(self.seen)[pick % len(self.seen)]]
        for request in rng.sample(seen.requests, rng.randint(0, len(seen.requests))):
            choice = choose(request, seen.table, POLICY, alternates=2)
            if choice is None:
                continue
            claim(request, choice.host_id, seen.table)
            for host_id in (choice.host_id, *choice.alternates):
                outcome = self.do(
                    ServerPlace(
                        server_id=request.server_id,
                        host_id=host_id,
                        fence=self.fence,
                        read_generation=request.generation,
                    )
                )
                if outcome.rejection is None or outcome.rejection[0] == "stale":
                    break

    @rule(group=st.sampled_from([None, None, *GROUPS]), deciding=st.lists(picks, min_size=3, max_size=8))
    def race(self, group: str | None, deciding: list[int]) -> None:
        """The common way to disaster: all look, and then each decides."""
        self.create(group, 3)
        self.look(set(range(SCHEDULERS)))
        for pick in deciding:
            self.decide(pick)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        views = self.fold.ask(ListServers())
        if views:
            server = views[pick % len(views)].server
            self.do(
                ServerAct(
                    server_id=server.server_id,
                    verb="delete",
                    request_id=RequestId("delete"),
                    deadline_ms=START_MS + 600_000,
                )
            )
            if server.host_id is not None:
                self.do(ServerRemoved(server_id=server.server_id, host_id=server.host_id))

    @rule(host_id=st.sampled_from(HOSTS), enabled=st.booleans())
    def switch(self, host_id: NodeId, enabled: bool) -> None:
        self.do(HostUpdate(host_id=host_id, enabled=enabled))

    @invariant()
    def no_host_is_over_its_limits(self) -> None:
        for usage in self.fold.ask(ListHosts()) if self.index else ():
            limits = limits_of(usage.host)
            assert usage.vcpus_used <= limits.vcpus, usage
            assert usage.memory_mb_used <= limits.memory_mb, usage
            assert usage.disk_gb_used <= limits.disk_gb, usage

    @invariant()
    def no_policy_is_broken(self) -> None:
        if not self.index:
            return
        at = {view.server.server_id: view.server.host_id for view in self.fold.ask(ListServers())}
        for group in self.fold.ask(ListServerGroups()):
            hosts = [host for member in group.member_ids if (host := at.get(member)) is not None]
            if group.policy == "affinity":
                assert len(set(hosts)) <= 1, group
            else:
                most = group.max_server_per_host or 1
                assert all(hosts.count(host) <= most for host in hosts), group


TestStaleSchedulers = StaleSchedulers.TestCase
TestStaleSchedulers.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

"""Our scheduler's core over the bench's fleet: how long each question takes it, and how much room."""

from __future__ import annotations

import cProfile
import gc
import io
import pstats
import time
import tracemalloc
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from bench import _schedule_fleet as fleets
from bench._spread import middle_ms, spread_of_runs_us
from fabric.core.membership.model import MemberState
from fabric.core.nodes.model import Host
from fabric.core.placement.choose import choose, choose_batch, fitting
from fabric.core.placement.explain import explain
from fabric.core.placement.host_facts import AggregateFacts, HostFacts, Surroundings
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.no_host import no_host
from fabric.core.placement.policy import policy_of
from fabric.core.placement.request import GroupWish, PlacementRequest
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU
from fabric.core.placement.settings import PlacementSettings
from fabric.core.server_groups.model import GroupPolicy
from fabric.core.servers.model import FlavorSnapshot
from fabric.runtime.scheduler_loop import ALTERNATES
from proto.ids import FlavorId, ImageId, NodeId, ProjectId, ServerId

POLICY = policy_of(PlacementSettings())
ALIKE = policy_of(PlacementSettings(multipliers={"ImageLocalityWeigher": 0.0}))  # which Nova has not
LINES = 40
WARM = 300  # requests that a table has seen before its size is told
PUTS = 1_000
VAIN_VCPUS = 100_000


class World:
    """A table of a fleet's hosts, and requests to it."""

    def __init__(self, seed: int, hosts: int, requests: int) -> None:
        fleet = fleets.fleet_of(seed, hosts)
        self.facts = [facts_of(each) for each in fleet.hosts]
        self.around = surroundings_of(fleet)
        self.asked = [request_of(each) for each in fleets.requests_of(seed, requests, fleet)]
        self.table = HostTable(self.facts, self.around)

    def choose_each(self, alternates: int = 0) -> list[float]:
        table = self.table
        return timed(lambda each: choose(each, table, POLICY, alternates=alternates), self.asked)


def one_placement(seed: int, hosts: int, count: int, repeats: int) -> dict[str, Any]:
    """Each request alone, on a table that knows what such requests ask; and as the scheduler role asks, with
    the next best hosts beside."""
    world = World(seed, hosts, count)
    world.choose_each()
    return {
        "requests": count,
        "cpu_us": spread_of_runs_us([world.choose_each() for _ in range(repeats)]),
        "with_alternates_cpu_us": spread_of_runs_us([world.choose_each(ALTERNATES) for _ in range(repeats)]),
    }


def decisions(seed: int, hosts: int, count: int) -> list[tuple[list[str], str | None]]:
    """For each request, alone: the names of the hosts that pass, and of the one that is chosen by the
    weighers that Nova has, too."""
    world = World(seed, hosts, count)
    table, found = world.table, []
    for each in world.asked:
        choice = choose(each, table, ALIKE)
        names = sorted(table.hosts[place].host.name for place in fitting(each, table, POLICY))
        found.append((names, None if choice is None else table.hosts[table.place[choice.host_id]].host.name))
    return found


def at_once(seed: int, hosts: int, count: int, repeats: int) -> dict[str, Any]:
    """All of them in one round, each claimed before the next is decided; columns are still to be made."""
    took, placed = [], 0
    for _ in range(repeats):
        world = World(seed, hosts, count)
        began = time.thread_time()
        chosen = choose_batch(world.asked, world.table, POLICY)
        took.append(time.thread_time() - began)
        placed = sum(each is not None for each in chosen)
    return {"hosts": hosts, "requests": count, "placed": placed, "cpu_ms": middle_ms(took)}


def table_cost(seed: int, hosts: int, repeats: int) -> dict[str, Any]:
    """What a host's facts take, and a table with the columns that requests have made so far; and what it
    costs to make one, and to take in the news of one host."""
    fleet = fleets.fleet_of(seed, hosts)
    asked = [request_of(each) for each in fleets.requests_of(seed, WARM, fleet)]
    around = surroundings_of(fleet)
    gc.collect()
    tracemalloc.start()
    facts = [facts_of(each) for each in fleet.hosts]
    facts_bytes = tracemalloc.get_traced_memory()[0]
    table = HostTable(facts, around)
    choose_batch(asked, table, POLICY)
    gc.collect()
    all_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    builds = timed(lambda _: HostTable(facts, around), range(repeats))
    puts = timed(lambda each: table.put(replace(each, io_ops=each.io_ops + 1)), facts[:PUTS])
    return {
        "hosts": hosts,
        "bytes_a_host": {"facts": facts_bytes // hosts, "table": (all_bytes - facts_bytes) // hosts},
        "build_cpu_ms": middle_ms(builds),
        "put_cpu_us": spread_of_runs_us([puts]),
    }


def words(seed: int, hosts: int, repeats: int) -> dict[str, Any]:
    """What it costs to tell those that asked in vain why, and an admin all there is to say."""
    world = World(seed, hosts, repeats)
    table = world.table
    vain = [replace(each, flavor=replace(each.flavor, vcpus=VAIN_VCPUS)) for each in world.asked]
    world.choose_each()
    return {
        "hosts": hosts,
        "no_host_cpu_ms": middle_ms(timed(lambda each: no_host(each, table, POLICY), vain)),
        "explain_placed_cpu_ms": middle_ms(timed(lambda each: explain(each, table, POLICY), world.asked)),
        "explain_vain_cpu_ms": middle_ms(timed(lambda each: explain(each, table, POLICY), vain)),
    }


def profile(seed: int, hosts: int, count: int) -> str:
    """Where the time of single placements goes."""
    world = World(seed, hosts, count)
    world.choose_each()
    costs = cProfile.Profile(time.thread_time)
    costs.enable()
    world.choose_each()
    costs.disable()
    text = io.StringIO()
    pstats.Stats(costs, stream=text).sort_stats("tottime").print_stats(LINES)
    return text.getvalue()


def timed(work: Callable[[Any], Any], over: Iterable[Any]) -> list[float]:
    """Seconds of processor time of each: deciding waits for nothing, and other programs do not count."""
    took = []
    for each in over:
        began = time.thread_time()
        work(each)
        took.append(time.thread_time() - began)
    return took


# ---- the fleet in our terms


def facts_of(host: fleets.FleetHost) -> HostFacts:
    return HostFacts(
        host=Host(
            host_id=NodeId(host.id),
            number=int(host.name.rpartition("-")[2]),
            name=host.name,
            address=host.address,
            zone="nova",
            hypervisor_type="kvm",
            hypervisor_version=host.hypervisor_version,
            arch="x86_64",
            vcpus=host.vcpus,
            memory_mb=host.memory_mb,
            disk_gb=host.disk_gb,
            cpu_ratio_milli=fleets.CPU_RATIO,
            memory_ratio_milli=fleets.MEMORY_RATIO,
            disk_ratio_milli=fleets.DISK_RATIO,
            reserved_memory_mb=fleets.RESERVED_MB,
            version="1",
            enabled=host.is_enabled,
            disabled_reason=None,
            forced_down=False,
            created_ms=0,
            updated_ms=0,
        ),
        state=MemberState.ALIVE if host.is_up else MemberState.HOST_DOWN,
        used={VCPU: host.vcpus_used, MEMORY_MB: host.memory_mb_used, DISK_GB: host.disk_gb_used},
        traits=_TRAITS.setdefault(host.traits, frozenset(host.traits)),
        servers=host.servers,
        io_ops=host.io_ops,
        build_failures=host.build_failures,
        images=frozenset(ImageId(each) for each in host.images),
    )


_TRAITS: dict[tuple[str, ...], frozenset[str]] = {}  # equal sets are one, as `host_view` sees to


def surroundings_of(fleet: fleets.Fleet) -> Surroundings:
    ids = {host.name: NodeId(host.id) for host in fleet.hosts}
    counts: dict[str, dict[NodeId, int]] = {group.id: {} for group in fleet.groups}
    for group in fleet.groups:
        for name in group.members.values():
            counts[group.id][ids[name]] = counts[group.id].get(ids[name], 0) + 1
    return Surroundings(
        aggregates=tuple(
            AggregateFacts(
                aggregate_id=each.id,
                name=each.name,
                metadata=each.metadata,
                host_ids=frozenset(ids[name] for name in each.hosts),
            )
            for each in fleet.aggregates
        ),
        group_hosts=counts,
        server_hosts={
            ServerId(server): ids[name] for group in fleet.groups for server, name in group.members.items()
        },
    )


def request_of(asked: fleets.FleetRequest) -> PlacementRequest:
    group = asked.group
    return PlacementRequest(
        server_id=ServerId(asked.id),
        project_id=ProjectId(asked.project),
        flavor=FlavorSnapshot(
            flavor_id=FlavorId("1"),
            name=asked.flavor,
            vcpus=asked.vcpus,
            memory_mb=asked.memory_mb,
            root_gb=asked.disk_gb,
            ephemeral_gb=0,
            swap_mb=0,
            extra_specs=asked.extra_specs,
        ),
        image_id=ImageId(asked.image),
        image_properties=asked.image_properties,
        zone=asked.zone,
        hints={name: (server,) for name, server in asked.hints.items()},
        group=None
        if group is None
        else GroupWish(
            group_id=group.id, policy=GroupPolicy(group.policy), max_server_per_host=group.most_on_a_host
        ),
    )

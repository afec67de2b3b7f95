"""Our scheduler's core over the bench's fleet: how long each question takes it, and how much room."""

from __future__ import annotations

import cProfile
import gc
import io
import pstats
import statistics
import time
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from bench import _schedule_fleet as fleets
from bench._spread import spread_us
from fabric.core.membership.model import MemberState
from fabric.core.nodes.model import Host
from fabric.core.placement.choose import choose, choose_batch, fitting
from fabric.core.placement.explain import explain
from fabric.core.placement.host_facts import AggregateFacts, HostFacts, Surroundings
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.no_host import no_host
from fabric.core.placement.policy import policy_of
from fabric.core.placement.request import GroupPolicy, GroupWish, PlacementRequest
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU
from fabric.core.placement.settings import PlacementSettings
from fabric.core.servers.model import FlavorSnapshot
from proto.ids import FlavorId, NodeId, ProjectId, ServerId

POLICY = policy_of(PlacementSettings())
LINES = 40
VAIN_VCPUS = 100_000


def one_placement(seed: int, hosts: int, count: int, repeats: int) -> dict[str, Any]:
    """Each request alone, on a table that knows what such requests ask."""
    table, asked = _table_and_requests(seed, hosts, count)
    _choose_each(asked, table)
    waits = [wait for _ in range(repeats) for wait in _choose_each(asked, table)]
    return {"requests": count, "placement_us": spread_us(waits)}


def passing(seed: int, hosts: int, count: int) -> list[list[str]]:
    """For each request the names of the hosts that pass, in the table's order."""
    table, asked = _table_and_requests(seed, hosts, count)
    return [[table.hosts[place].host.name for place in fitting(each, table, POLICY)] for each in asked]


def at_once(seed: int, hosts: int, count: int, repeats: int) -> dict[str, Any]:
    """All of them in one round, each claimed before the next is decided; columns are still to be made."""
    times, placed = [], 0
    for _ in range(repeats):
        table, asked = _table_and_requests(seed, hosts, count)
        began = time.thread_time()
        chosen = choose_batch(asked, table, POLICY)
        times.append(time.thread_time() - began)
        placed = sum(each is not None for each in chosen)
    return {"requests": count, "placed": placed, **_middle_ms("batch_ms", times)}


def table_cost(seed: int, hosts: int, repeats: int) -> dict[str, Any]:
    """What a table takes, with its hosts' facts and all columns that requests have made so far; and what
    it costs to make it, and to take in the news of one host."""
    fleet = fleets.fleet_of(seed, hosts)
    asked = [request_of(each) for each in fleets.requests_of(seed, 300, fleet)]
    gc.collect()
    tracemalloc.start()
    facts = [facts_of(each) for each in fleet.hosts]
    facts_bytes = tracemalloc.get_traced_memory()[0]
    table = HostTable(facts, surroundings_of(fleet))
    _choose_each(asked, table)
    gc.collect()
    all_bytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    builds = []
    for _ in range(repeats):
        around = surroundings_of(fleet)
        began = time.thread_time()
        HostTable(facts, around)
        builds.append(time.thread_time() - began)
    puts = _timed(lambda each: table.put(replace(each, io_ops=each.io_ops + 1)), facts[:1_000])
    return {
        "bytes_a_host": {"facts": facts_bytes // hosts, "table": (all_bytes - facts_bytes) // hosts},
        **_middle_ms("build_ms", builds),
        "put_us": spread_us(puts),
    }


def words(seed: int, hosts: int, repeats: int) -> dict[str, Any]:
    """What it costs to tell those that asked in vain why, and an admin all there is to say."""
    table, asked = _table_and_requests(seed, hosts, repeats)
    vain = [replace(each, flavor=replace(each.flavor, vcpus=VAIN_VCPUS)) for each in asked]
    return {
        "requests": repeats,
        **_middle_ms("no_host_ms", _timed(lambda each: no_host(each, table, POLICY), vain)),
        **_middle_ms("explain_chosen_ms", _timed(lambda each: explain(each, table, POLICY), asked)),
        **_middle_ms("explain_refused_ms", _timed(lambda each: explain(each, table, POLICY), vain)),
    }


def profile(seed: int, hosts: int, count: int) -> str:
    """Where the time of single placements goes."""
    table, asked = _table_and_requests(seed, hosts, count)
    _choose_each(asked, table)
    costs = cProfile.Profile()
    costs.enable()
    _choose_each(asked, table)
    costs.disable()
    text = io.StringIO()
    pstats.Stats(costs, stream=text).sort_stats("tottime").print_stats(LINES)
    return text.getvalue()


def _table_and_requests(seed: int, hosts: int, count: int) -> tuple[HostTable, list[PlacementRequest]]:
    fleet = fleets.fleet_of(seed, hosts)
    asked = [request_of(each) for each in fleets.requests_of(seed, count, fleet)]
    return HostTable([facts_of(each) for each in fleet.hosts], surroundings_of(fleet)), asked


def _choose_each(asked: Sequence[PlacementRequest], table: HostTable) -> list[float]:
    return _timed(lambda each: choose(each, table, POLICY), asked)


def _timed(work: Callable[[Any], Any], over: Sequence[Any]) -> list[float]:
    """Seconds of each."""
    each = []
    for one in over:
        began = time.thread_time()
        work(one)
        each.append(time.thread_time() - began)
    return each


def _middle_ms(name: str, seconds: Sequence[float]) -> dict[str, Any]:
    """The least is what other programs disturbed least."""
    ms = [each * 1_000 for each in seconds]
    return {name: {"median": round(statistics.median(ms), 2), "min": round(min(ms), 2)}}


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
        traits=frozenset(host.traits),
        servers=host.servers,
        io_ops=host.io_ops,
        build_failures=host.build_failures,
    )


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
    )


def request_of(asked: fleets.FleetRequest) -> PlacementRequest:
    group = asked.group
    return PlacementRequest(
        server_id=ServerId(asked.id),
        project_id=ProjectId(asked.project),
        flavor=FlavorSnapshot(
            flavor_id=FlavorId("1"),
            name="bench",
            vcpus=asked.vcpus,
            memory_mb=asked.memory_mb,
            root_gb=asked.disk_gb,
            ephemeral_gb=0,
            swap_mb=0,
            extra_specs=asked.extra_specs,
        ),
        image_properties=asked.image_properties,
        zone=asked.zone,
        group=None
        if group is None
        else GroupWish(
            group_id=group.id, policy=GroupPolicy(group.policy), max_server_per_host=group.most_on_a_host
        ),
    )

"""Nova's scheduler over the bench's fleet. Run by the Python of `.venv-nova`, in a process of its own:

    .venv-nova/bin/python bench/_schedule_nova.py "$JSON"

{"seed": 1, "one": [[HOSTS, REQUESTS], ...], "at_once": [HOSTS, SECONDS], "decisions": [HOSTS, REQUESTS]} is
asked, one JSON object printed. Measured are its filters and weighers as its scheduler calls them
(`get_filtered_hosts`, `get_weighed_hosts`), on host states in memory: without RPC, its databases and
Placement. What Placement would have sifted out before (what is counted, traits, zones) is worked out here in
plain loops, and takes no time.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench import _schedule_fleet as fleets

logging.disable(logging.ERROR)  # what it would write of each decision

import nova.conf  # noqa: E402
from nova import objects  # noqa: E402
from nova.scheduler import host_manager  # noqa: E402

CONF = nova.conf.CONF
REQUESTS_MAX = 1_000
SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
CELL = "00000000-0000-4000-8000-000000000001"
# Those of ours that Nova has too and does not use unless told to.
ALSO_OURS = (
    "AggregateInstanceExtraSpecsFilter",
    "AggregateMultiTenancyIsolation",
    "AggregateImagePropertiesIsolation",
    "AggregateTypeAffinityFilter",
    "DifferentHostFilter",
    "SameHostFilter",
    "SimpleCIDRAffinityFilter",
    "PciPassthroughFilter",
    "NUMATopologyFilter",
)


class Hosts(host_manager.HostManager):
    """Without the reads of its databases: cells, aggregates and servers are those of the fleet."""

    def refresh_cells_caches(self) -> None:
        self.cells: dict[str, Any] = {}
        self.enabled_cells: list[Any] = []

    def _init_aggregates(self) -> None:
        pass

    def use(self, names: Sequence[str]) -> None:
        self.enabled_filters = self._choose_host_filters(list(names))


def main() -> None:
    wanted = json.loads(sys.argv[1])
    CONF([], project="nova", default_config_files=[])
    CONF.set_override("track_instance_changes", False, group="filter_scheduler")
    CONF.set_override("service_down_time", 86_400)  # no host goes away while it is measured
    objects.register_all()
    manager = Hosts()
    default = tuple(CONF.filter_scheduler.enabled_filters)
    candidates_max = CONF.scheduler.max_placement_results
    seed = wanted["seed"]
    report = {
        "version": version("nova"),
        "filters": list(default),
        "weighers": sorted(type(each).__name__ for each in manager.weighers),
        "candidates_max": candidates_max,
        "one": {
            str(hosts): one_placement(manager, seed, hosts, count, candidates_max)
            for hosts, count in wanted["one"]
        },
        "at_once": in_turn(manager, seed, *wanted["at_once"]),
    }
    manager.use((*default, *ALSO_OURS))
    report["decisions"] = decisions(manager, seed, *wanted["decisions"])
    json.dump(report, sys.stdout)


def one_placement(manager: Hosts, seed: int, hosts: int, count: int, candidates_max: int) -> dict[str, Any]:
    """Each request alone: over all candidates, and over as many as Nova asks Placement for by default."""
    world = World(seed, hosts)
    asked = fleets.requests_of(seed, count, world.fleet)
    specs = [spec_of(each, world) for each in asked]
    given = [world.candidates(each) for each in asked]
    report: dict[str, Any] = {"requests": count, "cpu_us": _spread_us(manager, specs, given)}
    if hosts > candidates_max:
        few = [each[:candidates_max] for each in given]
        report["few_candidates_cpu_us"] = _spread_us(manager, specs, few)
    return report


def in_turn(manager: Hosts, seed: int, hosts: int, seconds: float) -> dict[str, Any]:
    """One request after the other, each consumed before the next is decided, for so long. Candidates are
    worked out anew each time, in time that does not count."""
    world = World(seed, hosts)
    took, placed, done = 0.0, 0, 0
    for each in fleets.requests_of(seed, REQUESTS_MAX, world.fleet):
        spec, given = spec_of(each, world), world.candidates(each)
        began = time.thread_time()
        best = _placed(manager, spec, given)
        if best is not None:
            best.consume_from_request(spec)
        took += time.thread_time() - began
        done += 1
        if best is not None:
            world.note(each, best)
            placed += 1
        if took >= seconds:
            break
    return {"hosts": hosts, "requests": done, "placed": placed, "cpu_ms": round(took * 1_000, 1)}


def decisions(manager: Hosts, seed: int, hosts: int, count: int) -> list[tuple[list[str], list[str]]]:
    """For each request, alone: the names of the hosts that pass, and of the heaviest."""
    world, found = World(seed, hosts), []
    for asked in fleets.requests_of(seed, count, world.fleet):
        spec = spec_of(asked, world)
        passing = list(manager.get_filtered_hosts(world.candidates(asked), spec))
        weighed = manager.get_weighed_hosts(passing, spec)
        heaviest = [each.obj.host for each in weighed if each.weight == weighed[0].weight]
        found.append((sorted(each.host for each in passing), heaviest))
    return found


def _placed(manager: Hosts, spec: Any, given: Sequence[Any]) -> Any:
    """As Nova's `_get_sorted_hosts` does; None: nobody can take it."""
    passing = manager.get_filtered_hosts(given, spec)
    if not passing:
        return None
    return manager.get_weighed_hosts(passing, spec)[0].obj


def _spread_us(manager: Hosts, specs: Sequence[Any], given: Sequence[Any]) -> dict[str, float]:
    took = []
    for spec, candidates in zip(specs, given, strict=True):
        began = time.thread_time()
        _placed(manager, spec, candidates)
        took.append((time.thread_time() - began) * 1e6)
    took.sort()
    at = {name: took[int(share * (len(took) - 1))] for name, share in SHARES.items()}
    return {name: round(value, 1) for name, value in at.items()}


# ---- the fleet in Nova's terms


class World:
    """Host states as Nova's scheduler would have them, and what Placement holds beside."""

    def __init__(self, seed: int, hosts: int) -> None:
        self.fleet = fleets.fleet_of(seed, hosts)
        aggregates = [
            objects.Aggregate(
                id=each.id, name=each.name, metadata=dict(each.metadata), hosts=sorted(each.hosts)
            )
            for each in self.fleet.aggregates
        ]
        of_host: dict[str, list[Any]] = {}
        for each in aggregates:
            for name in each.hosts:
                of_host.setdefault(name, []).append(each)
        servers: dict[str, dict[str, None]] = {}
        for group in self.fleet.groups:
            for server, name in group.members.items():
                servers.setdefault(name, {})[server] = None
        self.states = {
            host.name: _state(host, of_host.get(host.name, []), servers.get(host.name, {}))
            for host in self.fleet.hosts
        }
        self.members = {group.id: dict(group.members) for group in self.fleet.groups}
        self._taken: dict[str, list[int]] = {
            host.name: [host.vcpus_used, host.memory_mb_used, host.disk_gb_used] for host in self.fleet.hosts
        }

    def candidates(self, asked: fleets.FleetRequest) -> list[Any]:
        return [self.states[host.name] for host in self.fleet.hosts if self._has(host, asked)]

    def note(self, asked: fleets.FleetRequest, state: Any) -> None:
        for at, amount in enumerate((asked.vcpus, asked.memory_mb, asked.disk_gb)):
            self._taken[state.host][at] += amount
        state.instances[asked.id] = None
        if asked.group is not None:
            self.members[asked.group.id][asked.id] = state.host

    def _has(self, host: fleets.FleetHost, asked: fleets.FleetRequest) -> bool:
        vcpus, memory_mb, disk_gb = self._taken[host.name]
        return (
            (asked.zone is None or host.zone == asked.zone)
            and asked.vcpus <= host.vcpus
            and asked.memory_mb <= host.memory_mb
            and vcpus + asked.vcpus <= host.vcpus * fleets.CPU_RATIO / 1_000
            and memory_mb + asked.memory_mb
            <= (host.memory_mb - fleets.RESERVED_MB) * fleets.MEMORY_RATIO / 1_000
            and disk_gb + asked.disk_gb <= host.disk_gb * fleets.DISK_RATIO / 1_000
            and all(
                (key.removeprefix("trait:") in host.traits) == (wish == "required")
                for key, wish in asked.extra_specs.items()
                if key.startswith("trait:")
            )
        )


def _state(host: fleets.FleetHost, aggregates: list[Any], servers: dict[str, None]) -> Any:
    state = host_manager.HostState(host.name, host.name, CELL)
    used_mb = host.memory_mb_used + fleets.RESERVED_MB  # Nova counts what it reserves as used
    node = objects.ComputeNode(
        uuid=str(UUID(host.id)),
        host=host.name,
        hypervisor_hostname=host.name,
        vcpus=host.vcpus,
        vcpus_used=host.vcpus_used,
        memory_mb=host.memory_mb,
        memory_mb_used=used_mb,
        free_ram_mb=host.memory_mb - used_mb,
        local_gb=host.disk_gb,
        local_gb_used=host.disk_gb_used,
        free_disk_gb=host.disk_gb - host.disk_gb_used,
        disk_available_least=None,
        cpu_allocation_ratio=fleets.CPU_RATIO / 1_000,
        ram_allocation_ratio=fleets.MEMORY_RATIO / 1_000,
        disk_allocation_ratio=fleets.DISK_RATIO / 1_000,
        hypervisor_type="QEMU",
        hypervisor_version=host.hypervisor_version,
        cpu_info='{"arch": "x86_64"}',
        host_ip=host.address,
        supported_hv_specs=[objects.HVSpec.from_list(["x86_64", kind, "hvm"]) for kind in ("kvm", "qemu")],
        stats={
            "num_instances": str(host.servers),
            "io_workload": str(host.io_ops),
            "failed_builds": str(host.build_failures),
        },
        pci_device_pools=None,
        numa_topology=None,
        metrics=None,
        updated_at=None,
    )
    now = datetime.now(UTC)
    service = {
        "host": host.name,
        "disabled": not host.is_enabled,
        "disabled_reason": None,
        "forced_down": False,
        "topic": "compute",
        "last_seen_up": now if host.is_up else now - timedelta(days=30),
        "updated_at": now,
        "created_at": now,
        "binary": "nova-compute",
    }
    state.update(compute=node, service=service, aggregates=aggregates, inst_dict=dict(servers))
    return state


def spec_of(asked: fleets.FleetRequest, world: World) -> Any:
    group = asked.group
    return objects.RequestSpec(
        instance_uuid=asked.id,
        project_id=asked.project,
        num_instances=1,
        image=objects.ImageMeta(properties=objects.ImageMetaProps.from_dict(dict(asked.image_properties))),
        flavor=objects.Flavor(
            name=asked.flavor,
            vcpus=asked.vcpus,
            memory_mb=asked.memory_mb,
            root_gb=asked.disk_gb,
            ephemeral_gb=0,
            swap=0,
            extra_specs=dict(asked.extra_specs),
        ),
        instance_group=None
        if group is None
        else objects.InstanceGroup(
            uuid=group.id,
            policy=group.policy,
            policies=[group.policy],
            rules={"max_server_per_host": group.most_on_a_host} if group.policy == "anti-affinity" else {},
            members=sorted(world.members[group.id]),
            hosts=sorted(set(world.members[group.id].values())),
        ),
        pci_requests=objects.InstancePCIRequests(requests=[]),
        numa_topology=None,
        requested_destination=None,
        requested_resources=[],
        ignore_hosts=None,
        force_hosts=None,
        force_nodes=None,
        scheduler_hints={name: [server] for name, server in asked.hints.items()},
        limits=None,
        retry=None,
    )


if __name__ == "__main__":
    main()

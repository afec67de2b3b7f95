"""The hosts, aggregates, groups and requests of a seed, as plain values: our scheduler and its peer, which
runs in another Python without our packages, make the same ones. Imports nothing of ours.

Sizes and shares are those of a mixed public cloud: four kinds of machine, four zones, half full, one host in
twenty away; one request in three names a zone, one in five an aggregate's key, a trait or a server group.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from uuid import UUID

ZONES = ("az1", "az2", "az3", "az4")
PROJECTS = tuple(f"{number:032x}" for number in range(40))
MACHINES = ((32, 131_072, 2_000), (64, 262_144, 4_000), (96, 524_288, 4_000), (128, 1_048_576, 8_000))
FLAVORS = {
    "f1": (1, 2_048, 20),
    "f2": (2, 4_096, 40),
    "f3": (4, 8_192, 80),
    "f4": (8, 16_384, 160),
    "f5": (16, 65_536, 320),
}
SPECS = (
    ("aggregate_instance_extra_specs:ssd", "true"),
    ("aggregate_instance_extra_specs:tier", "silver"),
    ("aggregate_instance_extra_specs:tier", "<or> gold <or> bronze"),
)
TRAITS = (
    ("trait:HW_CPU_X86_AVX2", "required"),
    ("trait:CUSTOM_NVME", "required"),
    ("trait:CUSTOM_OLD", "forbidden"),
)
CAPABILITIES = (
    ("capabilities:hypervisor_version", ">= 8000000"),
    ("capabilities:cpu_info:arch", "s== x86_64"),
    ("capabilities:num_instances", "<= 40"),
)
IMAGES = tuple(f"{number:08x}-0000-4000-8000-000000000000" for number in range(20))
PROPERTIES = (
    ("hw_architecture", "x86_64"),
    ("img_hv_type", "qemu"),
    ("hw_disk_bus", "virtio"),
    ("hw_disk_bus", "sata"),
)
COMMON_TRAITS = ("HW_CPU_X86_SSE42", "HW_CPU_X86_AVX", "COMPUTE_NODE", "COMPUTE_IMAGE_TYPE_QCOW2")
SOME_TRAITS = {"HW_CPU_X86_AVX2": 0.8, "HW_CPU_X86_AVX512F": 0.4, "CUSTOM_NVME": 0.3, "CUSTOM_OLD": 0.1}
GROUPS = 30
POLICIES = ("affinity", "anti-affinity", "soft-affinity", "soft-anti-affinity")
VERSIONS = (7_002_000, 8_002_002, 9_001_000)
CPU_RATIO, MEMORY_RATIO, DISK_RATIO = 4_000, 1_000, 1_000  # thousandths
RESERVED_MB = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetHost:
    """`vcpus_used` and the like: what servers claim there."""

    id: str
    name: str
    address: str
    zone: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    vcpus_used: int
    memory_mb_used: int
    disk_gb_used: int
    hypervisor_version: int
    is_enabled: bool
    is_up: bool
    servers: int
    io_ops: int
    build_failures: int
    traits: tuple[str, ...]
    images: tuple[str, ...]  # cached


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetAggregate:
    id: int
    name: str
    metadata: Mapping[str, str]
    hosts: frozenset[str]  # names


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetGroup:
    """`members`: server's id -> name of its host."""

    id: str
    policy: str
    most_on_a_host: int
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetRequest:
    id: str  # of the server
    project: str
    flavor: str  # its name
    image: str
    vcpus: int
    memory_mb: int
    disk_gb: int
    extra_specs: Mapping[str, str] = field(default_factory=dict)
    image_properties: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None
    hints: Mapping[str, str] = field(default_factory=dict)  # name -> a server's id
    group: FleetGroup | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    hosts: tuple[FleetHost, ...]
    aggregates: tuple[FleetAggregate, ...]
    groups: tuple[FleetGroup, ...]


def fleet_of(seed: int, count: int) -> Fleet:
    rng = Random(f"fleet {seed} {count}")
    hosts = tuple(_host(rng, number) for number in range(count))
    return Fleet(
        hosts=hosts,
        aggregates=_aggregates(rng, hosts),
        groups=tuple(_group(rng, number, hosts) for number in range(GROUPS)),
    )


def requests_of(seed: int, count: int, fleet: Fleet) -> tuple[FleetRequest, ...]:
    """What the fleet is asked, in this order."""
    rng = Random(f"requests {seed}")
    return tuple(_request(rng, fleet) for _ in range(count))


def _host(rng: Random, number: int) -> FleetHost:
    vcpus, memory_mb, disk_gb = rng.choice(MACHINES)
    full = rng.random() * 0.95
    return FleetHost(
        id=_id(rng).hex,
        name=f"host-{number:05}",
        address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}",
        zone=rng.choice(ZONES),
        vcpus=vcpus,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        vcpus_used=int(vcpus * CPU_RATIO // 1_000 * full),
        memory_mb_used=int((memory_mb - RESERVED_MB) * full) // 512 * 512,
        disk_gb_used=int(disk_gb * full * rng.uniform(0.5, 1.0)),
        hypervisor_version=rng.choice(VERSIONS),
        is_enabled=rng.random() < 0.98,
        is_up=rng.random() < 0.97,
        servers=int(full * 60),
        io_ops=rng.choice((0, 0, 0, 0, 1, 1, 2, 3)),
        build_failures=int(rng.random() < 0.02),
        images=tuple(rng.sample(IMAGES, rng.randrange(5))),
        traits=COMMON_TRAITS + tuple(name for name, share in SOME_TRAITS.items() if rng.random() < share),
    )


def _aggregates(rng: Random, hosts: tuple[FleetHost, ...]) -> tuple[FleetAggregate, ...]:
    """A zone is an aggregate, as in Nova; others are any hosts."""
    found: list[FleetAggregate] = []

    def add(name: str, metadata: Mapping[str, str], names: frozenset[str]) -> None:
        found.append(FleetAggregate(id=len(found) + 1, name=name, metadata=metadata, hosts=names))

    def some(share: float) -> frozenset[str]:
        return frozenset(host.name for host in hosts if rng.random() < share)

    for zone in ZONES:
        add(zone, {"availability_zone": zone}, frozenset(host.name for host in hosts if host.zone == zone))
    add("fast", {"ssd": "true", "tier": "gold"}, some(0.3))
    add("slow", {"ssd": "false", "tier": "silver"}, some(0.3))
    add("either", {"tier": "silver,bronze"}, some(0.1))
    add("typed", {"instance_type": "f1, f2"}, some(0.05))
    add("large", {"instance_type": "f5"}, some(0.05))
    add("buses", {"hw_disk_bus": "virtio,scsi"}, some(0.05))
    for number in range(4):
        projects = ",".join(rng.sample(PROJECTS, 3))
        add(f"closed-{number}", {"filter_tenant_id": projects}, some(0.02))
    return tuple(found)


def _group(rng: Random, number: int, hosts: tuple[FleetHost, ...]) -> FleetGroup:
    policy = POLICIES[number % len(POLICIES)]
    homes = [rng.choice(hosts)] if policy == "affinity" else hosts  # as its policy has it
    members = {str(_id(rng)): rng.choice(homes).name for _ in range(rng.randrange(12))}
    most = rng.choice((1, 1, 2)) if policy == "anti-affinity" else 1
    return FleetGroup(id=str(_id(rng)), policy=policy, most_on_a_host=most, members=members)


def _request(rng: Random, fleet: Fleet) -> FleetRequest:
    flavor = rng.choice(tuple(FLAVORS))
    vcpus, memory_mb, disk_gb = FLAVORS[flavor]
    chosen = [
        rng.choice(some)
        for some, share in ((SPECS, 0.2), (TRAITS, 0.2), (CAPABILITIES, 0.05))
        if rng.random() < share
    ]
    group = rng.choice(fleet.groups)
    hint = rng.choice(("same_host", "different_host"))
    is_hinted = bool(group.members) and rng.random() < 0.04
    return FleetRequest(
        id=str(_id(rng)),
        project=rng.choice(PROJECTS),
        vcpus=vcpus,
        memory_mb=memory_mb,
        disk_gb=disk_gb,
        flavor=flavor,
        image=rng.choice(IMAGES),
        extra_specs=dict(chosen),
        image_properties=dict([rng.choice(PROPERTIES)]) if rng.random() < 0.3 else {},
        hints={hint: min(group.members)} if is_hinted else {},
        zone=rng.choice(ZONES) if rng.random() < 0.33 else None,
        group=group if rng.random() < 0.2 and not is_hinted else None,
    )


def _id(rng: Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)

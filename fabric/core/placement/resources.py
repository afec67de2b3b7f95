"""What a server asks for in Placement's terms: resource classes, traits, and numbered groups of them.

Sources: Nova's extra specs reference (`resources`, `trait`, `group_policy`, `hw:cpu_policy`) and its
`scheduler/utils.py`; Placement's "granular resource requests".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from fabric.core.placement.claim import claim_of
from fabric.core.placement.cpu_set import parse_cpu_set
from fabric.core.servers.guest_limits import cpu_limit_names
from fabric.core.servers.model import FlavorSnapshot

VCPU, PCPU, MEMORY_MB, DISK_GB = "VCPU", "PCPU", "MEMORY_MB", "DISK_GB"
HYPERTHREADING = "HW_CPU_HYPERTHREADING"
CPU_LIMITS = "CUSTOM_COMPUTE_CPU_LIMITS"  # of hosts on which `quota:cpu_*` holds
CPU_POLICY, THREAD_POLICY, EMULATOR_POLICY = (
    "hw:cpu_policy",
    "hw:cpu_thread_policy",
    "hw:emulator_threads_policy",
)
MIXED, DEDICATED_MASK, REALTIME_MASK = "mixed", "hw:cpu_dedicated_mask", "hw:cpu_realtime_mask"
MIXED_LEVEL = 3  # of the fabric, from which all that fold its log count such servers alike
AMOUNT_MAX = (1 << 31) - 1  # Placement's largest integer

STANDARD_CLASSES = (
    "VCPU", "MEMORY_MB", "DISK_GB", "PCI_DEVICE", "SRIOV_NET_VF", "NUMA_SOCKET", "NUMA_CORE", "NUMA_THREAD",
    "NUMA_MEMORY_MB", "IPV4_ADDRESS", "VGPU", "VGPU_DISPLAY_HEAD", "NET_BW_EGR_KILOBIT_PER_SEC",
    "NET_BW_IGR_KILOBIT_PER_SEC", "PCPU", "MEM_ENCRYPTION_CONTEXT", "FPGA", "PGPU",
    "NET_PACKET_RATE_KILOPACKET_PER_SEC", "NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC",
    "NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC",
)  # fmt: skip

_RESOURCES = re.compile(r"resources(?P<suffix>[A-Za-z0-9_-]{0,64}):(?P<name>[A-Z0-9_]{1,255})")
_TRAIT = re.compile(r"trait(?P<suffix>[A-Za-z0-9_-]{0,64}):(?P<name>[A-Z0-9_]{1,255})")
_NAMES_ONE = re.compile(r"(resources|trait)[A-Za-z0-9_-]{0,64}:.*", re.DOTALL)
_IN_TREE = re.compile(r"in_tree(?P<suffix>[A-Za-z0-9_-]{0,64})")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceGroup:
    """What one provider must give; the unsuffixed group may be spread over the tree."""

    resources: Mapping[str, int] = field(default_factory=dict)  # class -> amount, in the class's unit
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    in_tree: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceRequest:
    unsuffixed: ResourceGroup
    numbered: Mapping[str, ResourceGroup] = field(default_factory=dict)  # by suffix
    group_policy: str | None = None  # "none" or "isolate", of numbered groups

    def total(self) -> dict[str, int]:
        """Over all groups, by class."""
        found = dict(self.unsuffixed.resources)
        for group in self.numbered.values():
            for name, amount in group.resources.items():
                found[name] = found.get(name, 0) + amount
        return found

    def required(self) -> frozenset[str]:
        """By any group: a host is one provider, and gives all of them."""
        if not self.numbered:
            return self.unsuffixed.required
        return self.unsuffixed.required.union(*(group.required for group in self.numbered.values()))

    def forbidden(self) -> frozenset[str]:
        """By any group, likewise."""
        if not self.numbered:
            return self.unsuffixed.forbidden
        return self.unsuffixed.forbidden.union(*(group.forbidden for group in self.numbered.values()))


def resource_request(
    flavor: FlavorSnapshot, image_properties: Mapping[str, str] | None = None
) -> ResourceRequest:
    """The flavor's own numbers, what its extra specs say instead or beside, and the image's traits. What
    is no amount is passed over, as Nova does: `os-extra_specs` refuses it where it is written.

    A class that any group names is that group's matter: the flavor's own number of it does not count."""
    suffixed: dict[str, dict[str, int]] = {"": {}}
    required: dict[str, set[str]] = {}
    forbidden: dict[str, set[str]] = {}
    in_tree: dict[str, str] = {}
    for key, value in sorted(flavor.extra_specs.items()):
        if (found := _RESOURCES.fullmatch(key)) is not None:
            amount = amount_of(value)
            if amount is not None:
                suffixed.setdefault(found["suffix"], {})[found["name"]] = amount
        elif (found := _TRAIT.fullmatch(key)) is not None:
            _note_trait(found["suffix"], found["name"], value, required, forbidden)
        elif (found := _IN_TREE.fullmatch(key)) is not None:
            in_tree[found["suffix"]] = value
    for key, value in sorted((image_properties or {}).items()):
        if (found := _TRAIT.fullmatch(key)) is not None:
            _note_trait(found["suffix"], found["name"], value, required, forbidden)
    _note_thread_policy(thread_policy(flavor.extra_specs, image_properties or {}), required, forbidden)
    if cpu_limit_names(flavor.extra_specs):
        _note_trait("", CPU_LIMITS, "required", required, forbidden)
    named = {name for amounts in suffixed.values() for name in amounts}
    suffixed[""] |= _own_resources(flavor, named)
    groups = {
        suffix: ResourceGroup(
            resources={name: amount for name, amount in suffixed.get(suffix, {}).items() if amount > 0},
            required=frozenset(required.get(suffix, ())),
            forbidden=frozenset(forbidden.get(suffix, ())),
            in_tree=in_tree.get(suffix),
        )
        for suffix in sorted({*suffixed, *required, *forbidden, *in_tree})
    }
    return ResourceRequest(
        unsuffixed=groups.pop(""),
        numbered=groups,
        group_policy=flavor.extra_specs.get("group_policy") if groups else None,
    )


def misnamed(extra_specs: Mapping[str, str]) -> tuple[str, ...]:
    """Those that ask for a class or a trait by a name that none can have. They are no part of
    `resource_request`, which apply reckons by, too: what a server claims must not depend on who reckons."""
    return tuple(
        key
        for key in sorted(extra_specs)
        if _NAMES_ONE.fullmatch(key) and not (_RESOURCES.fullmatch(key) or _TRAIT.fullmatch(key))
    )


def says_otherwise(extra_specs: Mapping[str, str]) -> bool:
    """Whether they may ask for other amounts than the flavor's numbers."""
    return any(key == CPU_POLICY or key.startswith("resources") for key in extra_specs)


def is_dedicated(extra_specs: Mapping[str, str]) -> bool:
    """Whether each of its processors is to have one of the host's for itself."""
    return extra_specs.get(CPU_POLICY) == "dedicated"


def pinned_vcpus(specs: Mapping[str, str], vcpus: int) -> frozenset[int]:
    """Those of its processors, by number, that are to have one of the host's each, by the flavor's policy. A
    mask that nobody can read names none: `cpu_policy` refuses it."""
    if is_dedicated(specs):
        return frozenset(range(vcpus))
    if specs.get(CPU_POLICY) != MIXED:
        return frozenset()
    mask = specs.get(DEDICATED_MASK, "")
    try:
        # one that begins with a caret takes out of all of them, as in Nova
        named = parse_cpu_set(f"0-{vcpus - 1},{mask}" if mask.startswith("^") else mask)
    except ValueError:
        return frozenset()
    return named & frozenset(range(vcpus))


def _own_resources(flavor: FlavorSnapshot, named: Collection[str]) -> dict[str, int]:
    """By the flavor's own numbers, as `claim_of` has them, without classes that are `named`. Processors that
    are named in one class are not asked for in the other. The policy has the last word: dedicated ones are
    PCPU, and an emulator that is to be isolated has one more of them."""
    claim, specs = claim_of(flavor), flavor.extra_specs
    pinned = len(pinned_vcpus(specs, claim.vcpus))
    own = {MEMORY_MB: claim.memory_mb, DISK_GB: claim.disk_gb}
    if PCPU not in named and pinned < claim.vcpus:
        own[VCPU] = claim.vcpus - pinned
    found = {name: amount for name, amount in own.items() if name not in named}
    if pinned or is_dedicated(specs):
        found[PCPU] = pinned + (specs.get(EMULATOR_POLICY) == "isolate")
    return found


def thread_policy(specs: Mapping[str, str], image_properties: Mapping[str, str]) -> str:
    """The flavor's; the image's where the flavor has none, or takes either."""
    of_flavor = specs.get(THREAD_POLICY, "prefer")
    return image_properties.get("hw_cpu_thread_policy", of_flavor) if of_flavor == "prefer" else of_flavor


def named_amounts(specs: Mapping[str, str]) -> dict[str, int]:
    """What `resources:` and its numbered groups name, added up by class."""
    found: dict[str, int] = {}
    for key, value in specs.items():
        named, amount = _RESOURCES.fullmatch(key), amount_of(value)
        if named is not None and amount is not None:
            found[named["name"]] = found.get(named["name"], 0) + amount
    return found


def _note_thread_policy(policy: str, required: dict[str, set[str]], forbidden: dict[str, set[str]]) -> None:
    """Hosts with sibling threads or without, as traits; "prefer" takes either. Source: Nova, since Train."""
    value = {"require": "required", "isolate": "forbidden"}.get(policy)
    if value is not None:
        _note_trait("", HYPERTHREADING, value, required, forbidden)


def amount_of(value: str) -> int | None:
    """None: no whole number that Placement takes."""
    if not value.isascii() or not value.isdigit() or len(value) > len(str(AMOUNT_MAX)):
        return None
    amount = int(value)
    return amount if amount <= AMOUNT_MAX else None


def _note_trait(
    suffix: str, name: str, value: str, required: dict[str, set[str]], forbidden: dict[str, set[str]]
) -> None:
    if value == "required":
        required.setdefault(suffix, set()).add(name)
    elif value == "forbidden":
        forbidden.setdefault(suffix, set()).add(name)

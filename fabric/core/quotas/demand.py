"""What a server takes of a quota, and what to say when that is too much."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.placement.resources import resource_request
from fabric.core.quotas.model import UNLIMITED
from fabric.core.servers.model import FlavorSnapshot
from proto.ids import FlavorId

SIZES = ("vcpus", "memory_mb", "root_gb", "ephemeral_gb", "swap_mb", "extra_specs")  # of a flavor or server
CLASS_PREFIX = "class:"  # unified limits on what Placement counts: class:DISK_GB, class:CUSTOM_GPU


def limited_classes(limits: Mapping[str, int]) -> list[str]:
    """The resource classes that there is a limit for, sorted."""
    return sorted(
        name for name, limit in limits.items() if name.startswith(CLASS_PREFIX) and limit != UNLIMITED
    )


def classes_of(
    *,
    vcpus: int,
    memory_mb: int,
    root_gb: int,
    ephemeral_gb: int,
    swap_mb: int,
    extra_specs: Mapping[str, str],
) -> dict[str, int]:
    """What a server takes of each resource class, by the name of its limit: what Placement is asked for."""
    flavor = FlavorSnapshot(
        flavor_id=FlavorId(""),
        name="",
        vcpus=vcpus,
        memory_mb=memory_mb,
        root_gb=root_gb,
        ephemeral_gb=ephemeral_gb,
        swap_mb=swap_mb,
        extra_specs=extra_specs,
    )
    return {f"{CLASS_PREFIX}{name}": amount for name, amount in resource_request(flavor).total().items()}


def demand_of(
    limits: Mapping[str, int],
    *,
    vcpus: int,
    memory_mb: int,
    root_gb: int,
    ephemeral_gb: int,
    swap_mb: int,
    extra_specs: Mapping[str, str],
) -> dict[str, int]:
    """Of one server: instances, cores, ram, and of the limited resource classes those it takes any of."""
    wanted = {"cores": vcpus, "instances": 1, "ram": memory_mb}
    if not limits or not (classes := limited_classes(limits)):
        return wanted
    taken = classes_of(
        vcpus=vcpus,
        memory_mb=memory_mb,
        root_gb=root_gb,
        ephemeral_gb=ephemeral_gb,
        swap_mb=swap_mb,
        extra_specs=extra_specs,
    )
    return wanted | {name: taken[name] for name in classes if name in taken}


def exceeded(limits: Mapping[str, int], used: Mapping[str, int], wanted: Mapping[str, int]) -> str | None:
    """Nova's words for what does not fit, None when all does."""
    over = []
    for name in wanted:
        limit = limits.get(name, UNLIMITED)
        if limit != UNLIMITED and used.get(name, 0) + wanted[name] > limit:
            over.append(name)
    if not over:
        return None
    over.sort()
    asked, taken, allowed = (
        ", ".join(str(values.get(name, 0)) for name in over) for values in (wanted, used, limits)
    )
    names = ", ".join(over)
    return f"Quota exceeded for {names}: Requested {asked}, but already used {taken} of {allowed} {names}"


def fitting(
    limits: Mapping[str, int], used: Mapping[str, int], each: Mapping[str, int], *, at_most: int
) -> int:
    """How many servers that take so much each have room."""
    for name, amount in each.items():
        limit = limits.get(name, UNLIMITED)
        if limit != UNLIMITED and amount > 0:
            at_most = min(at_most, max(0, limit - used.get(name, 0)) // amount)
    return at_most

"""What a server takes of a quota, and what to say when that is too much."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.quotas.model import UNLIMITED

CLASS_PREFIX = "class:"  # unified limits on what Placement counts: class:DISK_GB, class:CUSTOM_GPU
DISK_CLASS = "class:DISK_GB"
_SPEC_PREFIX = "resources:"
_MB_PER_GB = 1024


def disk_gb(root_gb: int, ephemeral_gb: int, swap_mb: int) -> int:
    """As `placement.claim.claim_of` counts it: swap rounded up."""
    return root_gb + ephemeral_gb + (swap_mb + _MB_PER_GB - 1) // _MB_PER_GB


def limited_classes(limits: Mapping[str, int]) -> list[str]:
    """The resource classes that there is a limit for, sorted."""
    return sorted(
        name for name, limit in limits.items() if name.startswith(CLASS_PREFIX) and limit != UNLIMITED
    )


def of_class(name: str, extra_specs: Mapping[str, str]) -> int:
    """How much of a class a server takes whose flavor says so (`resources:CUSTOM_GPU=1`)."""
    text = extra_specs.get(_SPEC_PREFIX + name.removeprefix(CLASS_PREFIX), "")
    return int(text) if text.isascii() and text.isdigit() else 0


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
    if not limits:
        return wanted
    for name in limited_classes(limits):
        amount = (
            disk_gb(root_gb, ephemeral_gb, swap_mb) if name == DISK_CLASS else of_class(name, extra_specs)
        )
        if amount:
            wanted[name] = amount
    return wanted


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

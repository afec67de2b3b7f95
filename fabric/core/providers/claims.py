"""What a server holds on its host, by resource class: what its row says and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from fabric.core.placement.claim import claim_of
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU, resource_request
from fabric.core.servers.model import FlavorSnapshot
from proto.ids import FlavorId

OWN_CLASSES = (VCPU, MEMORY_MB, DISK_GB)  # which every host has, by its row


def claims_of(flavor: FlavorSnapshot) -> dict[str, int]:
    """The three own classes as `apply` counts them, and whatever else the flavor asks for."""
    claim = claim_of(flavor)
    own = {VCPU: claim.vcpus, MEMORY_MB: claim.memory_mb, DISK_GB: claim.disk_gb}
    return {name: amount for name, amount in own.items() if amount} | custom_claims_of(flavor)


def custom_claims_of(flavor: FlavorSnapshot) -> dict[str, int]:
    """Of the classes that only an offer gives: PCPU, VGPU, CUSTOM_ ones. Sorted by class."""
    if not flavor.extra_specs:
        return {}
    total = resource_request(flavor).total()
    return {name: total[name] for name in sorted(total) if name not in OWN_CLASSES and total[name]}


def custom_claims(vcpus: int, extra_specs: Mapping[str, str]) -> dict[str, int]:
    """The same of a server's row, whose other numbers do not count here."""
    if not extra_specs:
        return {}
    return custom_claims_of(
        FlavorSnapshot(
            flavor_id=FlavorId(""),
            name="",
            vcpus=vcpus,
            memory_mb=0,
            root_gb=0,
            ephemeral_gb=0,
            swap_mb=0,
            extra_specs=extra_specs,
        )
    )


def added(total: dict[str, int], more: Mapping[str, int], times: int = 1) -> dict[str, int]:
    """`total`, with `times` as much as `more` in it."""
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount * times
    return total


def summed(many: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in many:
        added(total, each)
    return total

"""What a server holds on its host, by resource class: what its row says and nothing else.

`claims_of` is what `apply`, the scheduler, Placement's view and the host itself count. The claims of many
servers are their rows' numbers, which a database adds up fast, and `beyond_numbers` of the few whose extra
specs make something else of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.placement.claim import Claim, claim_of
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, VCPU, resource_request, says_otherwise
from fabric.core.servers.model import FlavorSnapshot

OWN_CLASSES = (VCPU, MEMORY_MB, DISK_GB)  # which every host has, by its row


def claims_of(flavor: FlavorSnapshot) -> dict[str, int]:
    """What the scheduler asks for: dedicated processors are PCPU and no VCPU, and what `resources:` overrides
    is overridden here, too. Sorted by class; classes of which it takes nothing are not in it."""
    if not says_otherwise(flavor.extra_specs):
        return _of_numbers(flavor)
    total = resource_request(flavor).total()
    return {name: total[name] for name in sorted(total)}


def claims_before_level_2(flavor: FlavorSnapshot) -> dict[str, int]:
    """As fabrics below level 2 go on counting: the flavor's numbers whatever its extra specs say, and all
    other classes beside them."""
    others = {name: amount for name, amount in claims_of(flavor).items() if name not in OWN_CLASSES}
    return _of_numbers(flavor) | others


def beyond_numbers(flavor: FlavorSnapshot, claims: Mapping[str, int]) -> dict[str, int]:
    """What its claims have more than its numbers, by class; below 0 where they have less."""
    numbers = _of_numbers(flavor)
    names = sorted({*numbers, *claims})
    more = {name: claims.get(name, 0) - numbers.get(name, 0) for name in names}
    return {name: amount for name, amount in more.items() if amount}


def own_claim(claims: Mapping[str, int]) -> Claim:
    """Of the three classes that every host has."""
    return Claim(
        vcpus=claims.get(VCPU, 0), memory_mb=claims.get(MEMORY_MB, 0), disk_gb=claims.get(DISK_GB, 0)
    )


def _of_numbers(flavor: FlavorSnapshot) -> dict[str, int]:
    claim = claim_of(flavor)
    own = {DISK_GB: claim.disk_gb, MEMORY_MB: claim.memory_mb, VCPU: claim.vcpus}
    return {name: amount for name, amount in own.items() if amount}


def added(total: dict[str, int], more: Mapping[str, int], times: int = 1) -> dict[str, int]:
    """`total`, with `times` as much as `more` in it."""
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount * times
    return total

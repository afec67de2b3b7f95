"""What servers hold, as both `apply` and queries add it up.

Most servers take what their rows' numbers say, and a database adds those up from an index. The few whose
extra specs may say otherwise have an index of their own, so that for hosts without them it is one look in
vain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, func, literal_column, or_

from fabric.core.providers.claims import added, beyond_numbers, claims_before_level_2, claims_of
from fabric.core.servers.model import FlavorSnapshot
from fabric.store.tables import level2, level3, servers
from proto.ids import FlavorId

MB_PER_GB = 1_024

_S = servers.c
SIZES = (_S.vcpus, _S.memory_mb, _S.root_gb, _S.ephemeral_gb, _S.swap_mb, _S.extra_specs)
HELD_SIZES = tuple(level3.moves.c[column.name] for column in SIZES)  # by a move's other end

# `says_otherwise`, for a database. Written out and not bound: a partial index serves only who says its very
# words (`r0002_placement.py`). More servers than need be are fine, none may be missed.
SAY_OTHERWISE: ColumnElement[bool] = or_(
    _S.extra_specs.like(literal_column("'%resources%'")),
    _S.extra_specs.like(literal_column("'%hw:cpu_policy%'")),
)


def sums(level: int) -> tuple[ColumnElement[Any], ...]:
    """Of the rows' numbers: vCPUs, MB of memory, GB of disk, MB of swap. From level 2 on each server's swap
    is rounded up to whole GB and is disk, as Placement has it; before, it is rounded up over the host."""
    disk_gb = _S.root_gb + _S.ephemeral_gb
    if level < level2.LEVEL:
        return (func.sum(_S.vcpus), func.sum(_S.memory_mb), func.sum(disk_gb), func.sum(_S.swap_mb))
    swap_gb = (_S.swap_mb + (MB_PER_GB - 1)) // MB_PER_GB
    return (func.sum(_S.vcpus), func.sum(_S.memory_mb), func.sum(disk_gb + swap_gb), literal_column("0"))


def claims_at(level: int) -> Callable[[FlavorSnapshot], dict[str, int]]:
    return claims_of if level >= level2.LEVEL else claims_before_level_2


def beyond_sums(level: int, rows: Any) -> dict[str, int]:
    """What so many `servers` of each of these sizes hold beyond their numbers."""
    claims = claims_at(level)
    found: dict[str, int] = {}
    for row in rows:
        flavor = flavor_of(row)
        added(found, beyond_numbers(flavor, claims(flavor)), row.servers)
    return found


def flavor_of(row: Any) -> FlavorSnapshot:
    """The numbers of a server's row; which flavor they came from does not count."""
    sizes = {column.name: getattr(row, column.name) for column in SIZES}
    return FlavorSnapshot(flavor_id=FlavorId(""), name="", **sizes)

"""Host aggregates: hosts with something in common, an availability zone among it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proto.commands.base import Command, command
from proto.ids import NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateCreate(Command):
    """Its number is given at apply. Rejected: `conflict` (the name or uuid is taken)."""

    KIND = "aggregate.create"
    LEVEL = 2
    uuid: str
    name: str
    availability_zone: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateUpdate(Command):
    """Fields left None stay. Rejected: `not_found`, `conflict` (the name is taken), `invalid` (a host of it
    is in another zone, or has servers that would be in another one)."""

    KIND = "aggregate.update"
    LEVEL = 2
    aggregate_id: int
    name: str | None = None
    availability_zone: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateSetMetadata(Command):
    """Merged into what is there, less the keys of `unset`. Rejected: as `aggregate.update`, and `invalid`
    (the zone cannot be unset)."""

    KIND = "aggregate.set_metadata"
    LEVEL = 2
    aggregate_id: int
    changes: Mapping[str, str] = field(default_factory=dict)
    unset: tuple[str, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateAddHost(Command):
    """Rejected: `not_found` (aggregate, host), `conflict` (in it already, in another zone by another
    aggregate, or with servers that would be in another zone)."""

    KIND = "aggregate.add_host"
    LEVEL = 2
    aggregate_id: int
    host_id: NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateRemoveHost(Command):
    """Rejected: `not_found` (aggregate, or it has no such host), `conflict` (its servers would be in another
    zone)."""

    KIND = "aggregate.remove_host"
    LEVEL = 2
    aggregate_id: int
    host_id: NodeId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AggregateDelete(Command):
    """Rejected: `not_found`, `invalid` (it has hosts)."""

    KIND = "aggregate.delete"
    LEVEL = 2
    aggregate_id: int

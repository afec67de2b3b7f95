"""Resource providers: what hosts offer beyond their rows, and what outside consumers keep in Placement.

What servers hold is nowhere here: it follows from their rows. All of it came with level 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proto.commands.base import Command, command
from proto.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassInventory:
    """How much of one resource class there is; `ratio_milli` is the allocation ratio in thousandths."""

    total: int
    reserved: int = 0
    min_unit: int = 1
    max_unit: int = (1 << 31) - 1
    step_size: int = 1
    ratio_milli: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """So much of one class of one provider."""

    provider_id: str
    resource_class: str
    used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerHolds:
    """All that a consumer shall hold: what it held before and is not here is given back.

    `generation` is the one its author read, None: there was no such consumer yet; counts where
    `checks_generation` is set. `consumer_type` None: as it is, or unknown."""

    consumer_id: str
    project_id: str
    user_id: str
    held: tuple[Held, ...] = ()
    consumer_type: str | None = None
    generation: int | None = None
    checks_generation: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderStock:
    """All inventories of a provider, which was at `generation` when its author read it."""

    provider_id: str
    generation: int
    inventories: Mapping[str, ClassInventory] = field(default_factory=dict)


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class HostOffers(Command):
    """A host says what else it has to give. By the host about itself only. Idempotent; it replaces what it
    said before. Rejected: `not_found` (no such host), `invalid`."""

    KIND = "host.offer"
    LEVEL = 2
    host_id: NodeId
    inventories: Mapping[str, ClassInventory] = field(default_factory=dict)
    traits: tuple[str, ...] = ()
    facts: Mapping[str, object] = field(default_factory=dict)


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClassCreate(Command):
    """Rejected: `conflict` (it exists)."""

    KIND = "resource_class.create"
    LEVEL = 2
    name: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClassRename(Command):
    """Rejected: `not_found`, `conflict` (the new name exists), `in_use` (a provider has it)."""

    KIND = "resource_class.rename"
    LEVEL = 2
    name: str
    to: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceClassDelete(Command):
    """Rejected: `not_found`, `in_use` (a provider has it)."""

    KIND = "resource_class.delete"
    LEVEL = 2
    name: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class TraitCreate(Command):
    """Idempotent. Result: `created`."""

    KIND = "trait.create"
    LEVEL = 2
    name: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class TraitDelete(Command):
    """Rejected: `not_found`, `in_use` (a provider has it)."""

    KIND = "trait.delete"
    LEVEL = 2
    name: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCreate(Command):
    """Rejected: `conflict` (the id or name is taken, by a host too), `not_found` (the parent)."""

    KIND = "provider.create"
    LEVEL = 2
    provider_id: str
    name: str
    parent_id: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderUpdate(Command):
    """A new name and parent. Rejected: `not_found`, `conflict` (name), `invalid` (it would be its own
    ancestor; there is no such parent)."""

    KIND = "provider.update"
    LEVEL = 2
    provider_id: str
    name: str
    parent_id: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderDelete(Command):
    """Rejected: `not_found`, `in_use` (something is allocated from it), `has_children`."""

    KIND = "provider.delete"
    LEVEL = 2
    provider_id: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSet(Command):
    """Replaces what is not None. `generation` None: whatever it is now.

    Rejected: `not_found`, `stale` (another generation), `in_use` (a class that somebody holds is gone),
    `invalid`. Result: `generation`."""

    KIND = "provider.set"
    LEVEL = 2
    provider_id: str
    generation: int | None = None
    inventories: Mapping[str, ClassInventory] | None = None
    traits: tuple[str, ...] | None = None
    aggregates: tuple[str, ...] | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationsSet(Command):
    """What these consumers hold from now on, all or nothing.

    Rejected: `stale` (a consumer's generation), `not_found` (provider), `invalid` (a class the provider has
    not), `no_capacity`, `is_server` (what servers hold follows from their rows), `is_host` (what hosts give
    is for servers)."""

    KIND = "allocation.set"
    LEVEL = 2
    consumers: tuple[ConsumerHolds, ...]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProvidersReshape(Command):
    """Moves inventories and what is held of them between providers, all or nothing. Rejected: what
    ProviderSet and AllocationsSet are."""

    KIND = "provider.reshape"
    LEVEL = 2
    stocks: tuple[ProviderStock, ...]
    consumers: tuple[ConsumerHolds, ...] = ()

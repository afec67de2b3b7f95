"""Resource providers as rows know them: what hosts say, what outsiders made, who holds how much."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.nodes.model import Host
from fabric.core.placement.inventory import Inventory
from proto.ids import NodeId

Amounts = Mapping[str, int]  # resource class -> amount, in the class's unit

INCOMPLETE_ID = "00000000-0000-0000-0000-000000000000"  # whose allocation it is, where nobody said
INSTANCE = "INSTANCE"  # the consumer type of servers; Nova's word
MIGRATION = "MIGRATION"  # and of what the other end of a move holds


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOffer:
    """What a host says of itself beyond processors, memory and disk."""

    host_id: NodeId
    inventories: Mapping[str, Inventory] = field(default_factory=dict)  # by class; never the three own ones
    traits: tuple[str, ...] = ()  # sorted
    facts: Mapping[str, object] = field(default_factory=dict)
    updated_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutsideProvider:
    """Made through Placement by whoever owns what it gives."""

    provider_id: str
    name: str
    parent_id: str | None
    generation: int
    inventories: Mapping[str, Inventory]
    traits: tuple[str, ...]
    aggregates: tuple[str, ...]
    updated_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRows:
    """All that the view of providers is made of, read at one moment."""

    hosts: tuple[Host, ...] = ()
    offers: Mapping[NodeId, HostOffer] = field(default_factory=dict)
    aggregates: Mapping[NodeId, tuple[str, ...]] = field(default_factory=dict)  # uuids, sorted
    outside: tuple[OutsideProvider, ...] = ()
    used: Mapping[str, Amounts] = field(default_factory=dict)  # by provider id; empty where not asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """Who holds what. Of a server: its row, said so. `consumer_type` None: said before there were types."""

    consumer_id: str
    project_id: str
    user_id: str
    consumer_type: str | None
    generation: int
    is_server: bool
    allocations: Mapping[str, Amounts]  # by provider id
    updated_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedRow:
    """A resource class or a trait that somebody made."""

    name: str
    created_ms: int


def provider_id_of(host_id: NodeId) -> str:
    """A host's provider: its node id in the form of a UUID, which is its hypervisor's id too."""
    return f"{host_id[:8]}-{host_id[8:12]}-{host_id[12:16]}-{host_id[16:20]}-{host_id[20:]}"


def host_id_of(provider_id: str) -> NodeId:
    """The host whose provider this would be."""
    return NodeId(provider_id.replace("-", ""))

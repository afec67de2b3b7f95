"""What may be asked about resource providers. Below level 2 nobody offers or keeps anything here."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.providers.model import Consumer, HostOffer, NamedRow, ProviderRows
from fabric.core.queries import Query
from proto.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHostOffers(Query[tuple[HostOffer, ...]]):
    """By host id; hosts that said nothing have none."""

    host_ids: tuple[NodeId, ...] = ()  # empty: all


@dataclass(frozen=True, slots=True, kw_only=True)
class GetProviderRows(Query[ProviderRows]):
    """Everything at one moment. `with_used`: also what is used, which reads all servers' claims."""

    with_used: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListConsumers(Query[tuple[Consumer, ...]]):
    """All given conditions hold; a consumer has at least one allocation. By consumer id, servers first.

    With `provider_id` the allocations shown are those from that provider alone."""

    consumer_ids: tuple[str, ...] = ()
    provider_id: str | None = None
    project_id: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResourceClasses(Query[tuple[NamedRow, ...]]):
    """Those that somebody made, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTraits(Query[tuple[NamedRow, ...]]):
    """Those that somebody made, by name. What hosts say they have is in their offers."""

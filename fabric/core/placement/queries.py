"""What the scheduler asks the rows."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.placement.host_facts import HostFacts, Surroundings
from fabric.core.placement.request import PlacementRequest
from fabric.core.queries import Query
from proto.ids import NodeId, ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListPlacementRequests(Query[tuple[PlacementRequest, ...]]):
    """Of servers that are building and have no host yet: the scheduler's inbox, oldest first."""

    limit: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GetPlacementRequest(Query[PlacementRequest | None]):
    """Of any server, as it would be asked for now. None: there is no such server."""

    server_id: ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHostFacts(Query[tuple[HostFacts, ...]]):
    """By number; without what the membership table knows. Without the claim of `except_server`, if one is
    named: to look where that one could be, were it not where it is."""

    host_ids: tuple[NodeId, ...] = ()  # empty: all
    except_server: ServerId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetSurroundings(Query[Surroundings]):
    """All aggregates, if they are wanted; where the members of these groups are, and these servers.
    `except_server` is counted in no group."""

    group_ids: tuple[str, ...] = ()
    server_ids: tuple[ServerId, ...] = ()
    except_server: ServerId | None = None
    with_aggregates: bool = True

"""What may be asked about nodes and hosts."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.nodes.model import HostUsage, JoinToken, Node, RemovedNode, RoleGrant, VoterWishRow
from fabric.core.queries import Query
from proto.ids import NodeId, TokenId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListNodes(Query[tuple[Node, ...]]):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class GetNode(Query[Node | None]):
    node_id: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRemovedNodes(Query[tuple[RemovedNode, ...]]):
    """The newest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRemovedNode(Query[RemovedNode | None]):
    node_id: NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListJoinTokens(Query[tuple[JoinToken, ...]]):
    """By expiry, those used up and expired lately too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetJoinToken(Query[JoinToken | None]):
    token_id: TokenId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListHosts(Query[tuple[HostUsage, ...]]):
    """By number."""

    host_id: NodeId | None = None
    host_ids: tuple[NodeId, ...] = ()  # empty: all


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRoleGrants(Query[tuple[RoleGrant, ...]]):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ListVoterWishes(Query[tuple[VoterWishRow, ...]]):
    """By node id."""

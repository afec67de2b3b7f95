"""What may be asked about moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from fabric.core.moves.model import Move
from fabric.core.queries import Query
from proto.ids import ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveFilter:
    """All given conditions must hold. `host`: a host's name, at either end."""

    server_id: ServerId | None = None
    host: str | None = None
    source_name: str | None = None
    statuses: tuple[str, ...] = ()
    kind: str | None = None
    user_id: str | None = None
    project_id: str | None = None
    changed_since_ms: int | None = None
    changed_before_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListMoves(Query[tuple[Move, ...]]):
    """Newest first. `marker`: a move's id; those after it. Raises BadFilterError where there is no such."""

    filter: MoveFilter = field(default_factory=MoveFilter)
    limit: int = 1_000
    marker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOpenMove(Query[Move | None]):
    """Of a server, the one that is not ended."""

    server_id: ServerId

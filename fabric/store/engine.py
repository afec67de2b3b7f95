"""Which engine holds the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from fabric.core.queries import Applied, Consistency, Listener, Query
from fabric.core.voters.levels import Levels
from fabric.errors import ConfigError
from fabric.store.lone_voter import lone_voter
from fabric.store.postgres import PostgresState
from fabric.store.voter_engine import Clock
from fabric.store.voter_log import SEGMENT_BYTES
from proto.commands import Command
from proto.ids import LogIndex, RequestId

T = TypeVar("T")

POSTGRES_SCHEME = "postgresql+psycopg://"


class Engine(Protocol):
    """A HardState with a life of its own."""

    @property
    def applied_index(self) -> LogIndex: ...

    @property
    def level(self) -> int: ...

    @property
    def levels(self) -> Levels: ...

    async def open(self) -> None: ...

    async def close(self) -> None: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...

    async def raise_level(self, to: int) -> Applied: ...

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T: ...

    async def catch_up(self) -> None: ...

    @property
    def passed_over(self) -> int: ...

    def subscribe(self, listener: Listener) -> Callable[[], None]: ...


def is_embedded(state_url: str) -> bool:
    """The log and SQLite in the node's own directory."""
    return not state_url or state_url == "sqlite"


def engine_for(
    state_url: str,
    directory: Path,
    *,
    clock: Clock,
    segment_bytes: int = SEGMENT_BYTES,
    on_failure: Callable[[BaseException], None] | None = None,
) -> Engine:
    """ "" or "sqlite": the embedded log in `directory`. "postgresql+psycopg://...": that database.

    Raises ConfigError for any other URL.
    """
    if is_embedded(state_url):
        return lone_voter(directory, clock=clock, segment_bytes=segment_bytes, on_failure=on_failure)
    return database_for(state_url)


def database_for(state_url: str) -> PostgresState:
    """Raises ConfigError for a URL that is none of a database."""
    if state_url.startswith(POSTGRES_SCHEME):
        return PostgresState(state_url)
    raise ConfigError(
        f'state.url must be empty (embedded) or start with "{POSTGRES_SCHEME}", not '
        f"{state_url.split('://', 1)[0]!r}"
    )

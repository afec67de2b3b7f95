"""The real state engine, opened in a test's own directory: the embedded one, or with
FABRIC_TEST_STATE=postgresql the other (`make api-postgres`)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import sqlalchemy

from fabric.runtime.clock import SystemClock
from fabric.store import tables as t
from fabric.store.engine import Engine
from fabric.store.lone_voter import lone_voter
from fabric.store.postgres import PostgresState
from fabric.store.tables.by_level import ADDED
from tests.fixtures.newest_level import raise_to_newest

server_url = ""  # set for a run over PostgreSQL


def is_over_postgres() -> bool:
    return os.environ.get("FABRIC_TEST_STATE", "") == "postgresql"


@asynccontextmanager
async def open_state(directory: Path) -> AsyncIterator[Engine]:
    state = _engine(directory)
    await state.open()
    await raise_to_newest(state)
    try:
        yield state
    finally:
        await state.close()


def _engine(directory: Path) -> Engine:
    if not is_over_postgres():
        return lone_voter(directory / "state", clock=SystemClock())
    engine = sqlalchemy.create_engine(server_url)
    for metadata in (t.metadata, t.shared_metadata, *ADDED.values()):
        metadata.drop_all(engine)
    engine.dispose()
    return PostgresState(server_url)

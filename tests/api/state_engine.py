"""The real state engine, opened in a test's own directory: the embedded one, or with
FABRIC_TEST_STATE=postgresql the other (`make api-postgres`)."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import sqlalchemy

from fabric.runtime.clock import SystemClock
from fabric.store import tables as t
from fabric.store.engine import Engine
from fabric.store.lone_voter import lone_voter
from fabric.store.postgres import PostgresState
from tests.fixtures.postgres_cluster import postgres_cluster


@asynccontextmanager
async def open_state(directory: Path) -> AsyncIterator[Engine]:
    state = _engine(directory)
    await state.open()
    try:
        yield state
    finally:
        await state.close()


def _engine(directory: Path) -> Engine:
    if os.environ.get("FABRIC_TEST_STATE", "") != "postgresql":
        return lone_voter(directory / "state", clock=SystemClock())
    url = _server()
    engine = sqlalchemy.create_engine(url)
    for metadata in (t.metadata, t.shared_metadata):
        metadata.drop_all(engine)
    engine.dispose()
    return PostgresState(url)


@cache
def _server() -> str:
    """One for all tests of this process, which ends it."""
    running = contextlib.ExitStack()
    url = running.enter_context(postgres_cluster())
    atexit.register(running.close)
    return url

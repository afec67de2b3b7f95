"""Both engines, one suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from fabric.store import tables as t
from fabric.store.engine import Engine
from fabric.store.lone_voter import lone_voter
from fabric.store.postgres import PostgresState
from fabric.store.tables.by_level import ADDED
from tests.fixtures.newest_level import raise_to_newest
from tests.fixtures.postgres_cluster import postgres_cluster, why_not
from tests.fixtures.store_world import ManualClock, StoreWorld


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    with postgres_cluster() as url:
        yield url


@pytest.fixture
def empty_postgres(postgres_url: str) -> str:
    engine = sqlalchemy.create_engine(postgres_url)
    t.metadata.drop_all(engine)
    for added in ADDED.values():
        added.drop_all(engine)
    t.shared_metadata.drop_all(engine)
    engine.dispose()
    return postgres_url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def engine_kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def bare(engine_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreWorld]:
    """An open, empty store."""
    clock = ManualClock()
    engine: Engine
    if engine_kind == "sqlite":
        engine = lone_voter(tmp_path / "state", clock=clock)
    else:
        engine = PostgresState(request.getfixturevalue("empty_postgres"), clock=clock)
    await engine.open()
    try:
        yield StoreWorld(engine, clock)
    finally:
        await engine.close()


@pytest.fixture
async def world(bare: StoreWorld) -> StoreWorld:
    """A store with a fabric, a tenant, a flavor, an image, a network, two hosts and a scheduler."""
    await raise_to_newest(bare.engine)
    await bare.init()
    return bare

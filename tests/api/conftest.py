"""The database of a run over PostgreSQL, for as long as the run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.api import state_engine
from tests.fixtures.postgres_cluster import postgres_cluster


@pytest.fixture(scope="session", autouse=True)
def _server() -> Iterator[None]:
    if not state_engine.is_over_postgres():
        yield
        return
    with postgres_cluster() as state_engine.server_url:
        yield

"""What only PostgreSQL can do wrong: conflicts between processes, connections that go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import event

from fabric.core.identity.queries import ListProjects
from fabric.core.queries import AppliedEntry
from fabric.errors import ConfigError
from fabric.store.engine import engine_for
from fabric.store.errors import StoreStoppedError
from fabric.store.postgres import PostgresState
from fabric.store.voter_engine import VoterEngine
from proto.commands.identity import ProjectCreate
from proto.ids import ProjectId, RequestId
from tests.fixtures.store_world import DOMAIN, ManualClock, fabric_init

pytestmark = pytest.mark.postgres


def project(name: str) -> ProjectCreate:
    return ProjectCreate(project_id=ProjectId(f"p-{name}"), domain_id=DOMAIN, name=name)


async def put(state: PostgresState, name: str, request: str | None = None) -> bool:
    return (await state.propose(project(name), request_id=RequestId(request or f"req-{name}"))).replayed


@pytest.fixture
async def two(empty_postgres: str) -> AsyncIterator[tuple[PostgresState, PostgresState]]:
    """Two agents on one database."""
    states = PostgresState(empty_postgres), PostgresState(empty_postgres)
    await asyncio.gather(*(state.open() for state in states))
    await states[0].propose(fabric_init(), request_id=RequestId("req-init"))
    try:
        yield states
    finally:
        for state in states:
            await state.close()


async def test_two_agents_write_at_once(two: tuple[PostgresState, PostgresState]) -> None:
    await asyncio.gather(*(put(two[number % 2], f"n{number}") for number in range(60)))
    assert len(await two[0].read(ListProjects())) == 62
    assert await two[0].read(ListProjects()) == await two[1].read(ListProjects())
    indices = [state.applied_index for state in two]
    assert max(indices) == 61  # one index each, none lost, none twice


async def test_one_request_through_two_agents_happens_once(two: tuple[PostgresState, PostgresState]) -> None:
    replayed = await asyncio.gather(*(put(state, "same", "req-same") for state in two))
    assert sorted(replayed) == [False, True]


async def test_a_lost_connection_is_made_again(
    two: tuple[PostgresState, PostgresState], empty_postgres: str
) -> None:
    await put(two[0], "before")
    engine = sqlalchemy.create_engine(empty_postgres)
    with engine.connect() as connection:
        connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND backend_type = 'client backend'"
        )
    engine.dispose()
    await put(two[0], "after")
    assert {"before", "after"} < {found.name for found in await two[0].read(ListProjects())}


async def test_a_commit_whose_answer_was_lost_is_not_a_replay(
    two: tuple[PostgresState, PostgresState],
) -> None:
    """It was committed, the connection broke before we heard: the second attempt finds our own row."""
    state = two[0]
    heard: list[AppliedEntry] = []
    state.subscribe(heard.append)
    database = state._database
    assert database is not None
    lost = 0

    def lose_the_answer(connection: sqlalchemy.Connection) -> None:
        nonlocal lost
        if lost == 0:
            lost += 1
            driver: Any = connection.connection.driver_connection
            driver.commit()
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("connection lost"))

    event.listen(database.engine, "commit", lose_the_answer)
    assert await put(state, "once") is False
    assert lost == 1
    assert [entry.command.KIND for entry in heard] == ["project.create"]
    assert len(await state.read(ListProjects())) == 3


async def test_a_server_that_is_away_for_a_moment_costs_a_moment(
    two: tuple[PostgresState, PostgresState], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections are refused, then taken: whoever waits sees a delay."""
    database = two[0]._database
    assert database is not None
    refused = 0

    def refuse(dialect: object, record: object, args: object, kwargs: object) -> None:
        nonlocal refused
        if refused < 3:
            refused += 1
            raise sqlalchemy.exc.OperationalError("connect", {}, Exception("connection refused"))

    database.engine.dispose()
    event.listen(database.engine, "do_connect", refuse)
    assert await put(two[0], "later") is False
    assert refused == 3


async def test_a_database_that_is_not_there(tmp_path: object) -> None:
    state = PostgresState("postgresql+psycopg://nobody@/none?host=/nonexistent")
    with pytest.raises(StoreStoppedError, match="cannot be used"):
        await state.open()


async def test_the_clock_is_the_databases(two: tuple[PostgresState, PostgresState]) -> None:
    await put(two[0], "now")
    (found,) = [p for p in await two[0].read(ListProjects()) if p.name == "now"]
    assert found.created_ms > 1_700_000_000_000


def test_engine_for(tmp_path: object) -> None:
    from pathlib import Path

    directory = Path(str(tmp_path))
    for url in (None, "", "sqlite"):
        assert isinstance(engine_for(url, directory, clock=ManualClock()), VoterEngine)
    url = "postgresql+psycopg://u@h/d"
    assert isinstance(engine_for(url, directory, clock=ManualClock()), PostgresState)
    with pytest.raises(ConfigError) as caught:
        engine_for("mysql://u:secret@h/d", directory, clock=ManualClock())
    assert "secret" not in str(caught.value)

"""A shared database and programs of two versions: who conducts raises its level, once, and who cannot follow
says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy

from fabric.core.identity.queries import ListProjects
from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError, StoreStoppedError
from fabric.store.postgres import PostgresState
from fabric.store.program import Program
from fabric.store.tables.by_level import ADDED
from proto.ids import RequestId
from tests.contract.store.test_postgres import put
from tests.fixtures.next_program import BASELINE, TWO, Paint, add_colours, next_program
from tests.fixtures.store_world import fabric_init

pytestmark = pytest.mark.postgres


@pytest.fixture
def url(postgres_url: str) -> str:
    """With nothing in it."""
    engine = sqlalchemy.create_engine(postgres_url)
    with engine.begin() as connection:
        t.metadata.drop_all(connection)
        for added in ADDED.values():
            added.drop_all(connection)
        t.shared_metadata.drop_all(connection)
        connection.exec_driver_sql("DROP TABLE IF EXISTS paints")
    engine.dispose()
    return postgres_url


@asynccontextmanager
async def opened(url: str, *programs: Program) -> AsyncIterator[tuple[PostgresState, ...]]:
    states: list[PostgresState] = []
    try:
        for program in programs:
            states.append(PostgresState(url, program=program))
            await states[-1].open()
        yield tuple(states)
    finally:
        for state in states:
            await state.close()


async def test_the_level_is_raised_once_and_who_cannot_follow_changes_nothing_more(url: str) -> None:
    async with opened(url, BASELINE, TWO, TWO) as (old, one, other):
        await old.propose(fabric_init(), request_id=RequestId("init"))
        with pytest.raises(CommandRejectedError, match="needs level 2 of the fabric, which is at 1"):
            await one.propose(Paint(colour="red"), request_id=RequestId("p"))
        raised = await asyncio.gather(one.raise_level(2), other.raise_level(2), return_exceptions=True)
        assert [type(each) for each in raised].count(CommandRejectedError) == 1
        assert (await other.propose(Paint(colour="red"), request_id=RequestId("p"))).result == {"coats": 1}
        assert one.level == other.level == 2
        with pytest.raises(StoreStoppedError, match="level 2, and this program can apply 1 at most"):
            await put(old, "late")
        assert len(await old.read(ListProjects())) == 2  # what it knows it still reads
    async with opened(url, TWO) as (again,):
        assert again.level == 2
        await put(again, "late")
    with pytest.raises(SchemaVersionError, match="run a newer one"):
        async with opened(url, BASELINE):
            pass


async def test_another_revision_of_that_level_is_not_run(url: str) -> None:
    def otherwise(op: object) -> None:
        add_colours(op)  # type: ignore[arg-type]
        op.drop_index("ix_projects_colour", "projects")  # type: ignore[attr-defined]

    async with opened(url, BASELINE) as (first,):
        await first.propose(fabric_init(), request_id=RequestId("init"))
    async with opened(url, next_program(otherwise)) as (state,):
        with pytest.raises(StoreStoppedError, match="another one than the group's"):
            await state.propose(TWO.raise_to(2), request_id=RequestId("r"))
        assert state.level == 1


async def test_a_new_database_is_made_at_the_newest_level(url: str) -> None:
    async with opened(url, TWO) as (state,):
        assert state.level == 2
        await state.propose(fabric_init(), request_id=RequestId("init"))
        await state.propose(Paint(colour="red", project_id="p-admin"), request_id=RequestId("p"))

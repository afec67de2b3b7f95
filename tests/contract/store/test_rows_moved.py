"""A fabric's rows go from one engine to the other and back, and are the same rows."""

from __future__ import annotations

import io
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy

from fabric.core.identity.queries import GetFabric
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.servers.queries import GetServer
from fabric.store import tables as t
from fabric.store.errors import SnapshotRefusedError
from fabric.store.incarnation import read_incarnation, write_incarnation
from fabric.store.life_swap import STATE
from fabric.store.lone_voter import lone_voter
from fabric.store.new_life import INDEX_LEAP
from fabric.store.postgres import PostgresState
from fabric.store.rows_export import export_database, export_stopped_voter
from fabric.store.rows_file import Header, Sum
from fabric.store.rows_import import import_into_database, import_into_voter
from fabric.store.sqlite import DATABASE, open_reader
from fabric.store.voter_id import known_voter_id
from proto.commands.identity import ProjectCreate
from proto.ids import ProjectId, ServerId
from tests.fixtures.store_world import DOMAIN, NODE, START_MS, ManualClock, StoreWorld

NOW_MS = START_MS + 5_000
REPEATED = "asked before"


def asked_before() -> ProjectCreate:
    return ProjectCreate(project_id=ProjectId("before"), domain_id=DOMAIN, name="before 🖥")


@pytest.fixture
async def lived(tmp_path: Path) -> Path:
    """A stopped node's directory, with a row or more in most tables, in its group's third life."""
    directory = tmp_path / "node"
    write_incarnation(directory / STATE, 3)
    clock = ManualClock()
    engine = lone_voter(directory / STATE, clock=clock)
    await engine.open()
    world = StoreWorld(engine, clock)
    await world.init()
    await world.active("server-ünï")
    await world.do(asked_before(), request=REPEATED)
    await engine.close()
    return directory


def exported(directory: Path) -> tuple[bytes, Header, Sum]:
    out = io.BytesIO()
    header, made = export_stopped_voter(directory, out, now_ms=NOW_MS)
    return out.getvalue(), header, made


def of_database(url: str) -> tuple[bytes, Header, Sum]:
    out = io.BytesIO()
    header, made = export_database(url, out, now_ms=NOW_MS)
    return out.getvalue(), header, made


@pytest.mark.postgres
async def test_there_and_back_the_rows_are_the_same(lived: Path, empty_postgres: str, tmp_path: Path) -> None:
    file, header, made = exported(lived)
    assert made.rows > 30
    shared, read = import_into_database(io.BytesIO(file), empty_postgres, now_ms=NOW_MS)
    assert (read, read.incarnation, read.engine) == (header, 3, "sqlite")
    assert shared.incarnation > 3
    assert shared.index >= header.index + INDEX_LEAP

    file, header, there = of_database(empty_postgres)
    assert (header.engine, header.incarnation, header.index) == (
        "postgresql",
        shared.incarnation,
        shared.index,
    )
    (tmp_path / "back").mkdir()
    life, _ = import_into_voter(io.BytesIO(file), tmp_path / "back", NODE, now_ms=NOW_MS)
    assert life.incarnation > shared.incarnation
    assert life.index > shared.index
    _, header, back = exported(tmp_path / "back")
    assert header.incarnation == life.incarnation == read_incarnation(tmp_path / "back" / STATE)

    # Fences are raised in each life, and nothing else is another.
    assert there.rows == back.rows == made.rows
    assert len({made.digest, there.digest, back.digest}) == 3
    for each in t.metadata.sorted_tables:
        if each not in (t.position, t.role_grants):
            assert rows_in(lived, each) == rows_in(tmp_path / "back", each), each.name


def rows_in(directory: Path, table: sqlalchemy.Table) -> list[tuple[object, ...]]:
    keys = ", ".join(column.name for column in table.primary_key.columns)
    with closing(open_reader(directory / STATE / DATABASE)) as reader:
        return reader.execute(f"SELECT * FROM {table.name} ORDER BY {keys}").fetchall()


@pytest.mark.postgres
async def test_what_came_is_there_and_the_fabric_goes_on(
    lived: Path, empty_postgres: str, tmp_path: Path
) -> None:
    file, _, _ = exported(lived)
    shared, _ = import_into_database(io.BytesIO(file), empty_postgres, now_ms=NOW_MS)
    engine = PostgresState(empty_postgres, clock=ManualClock(NOW_MS))
    await engine.open()
    assert engine.incarnation == shared.incarnation  # so that voters of before end
    try:
        await _goes_on(StoreWorld(engine, ManualClock()), shared.index)
    finally:
        await engine.close()
    file, _, _ = of_database(empty_postgres)
    (tmp_path / "back").mkdir()
    life, _ = import_into_voter(io.BytesIO(file), tmp_path / "back", NODE, now_ms=NOW_MS)
    state = tmp_path / "back" / STATE
    voter = lone_voter(state, clock=ManualClock(NOW_MS), me=known_voter_id(state))
    await voter.open()
    try:
        await _goes_on(StoreWorld(voter, ManualClock()), life.index)
    finally:
        await voter.close()


async def _goes_on(world: StoreWorld, index: int) -> None:
    assert await world.ask(GetFabric()) is not None
    assert await world.ask(GetServer(server_id=ServerId("server-ünï"))) is not None
    (grant,) = await world.ask(ListRoleGrants())
    assert grant.fence == index  # above every one that was given before
    project = ProjectCreate(project_id=ProjectId(f"p{index}"), domain_id=DOMAIN, name=f"later {index}")
    assert (await world.do(project)).index > index
    assert (await world.do(asked_before(), request=REPEATED)).replayed  # asked and answered in a former life


@pytest.mark.postgres
async def test_a_database_that_holds_something_is_refused(lived: Path, empty_postgres: str) -> None:
    file, _, _ = exported(lived)
    import_into_database(io.BytesIO(file), empty_postgres, now_ms=NOW_MS)
    before = of_database(empty_postgres)[2]
    with pytest.raises(SnapshotRefusedError, match=r"holds fabric .* already"):
        import_into_database(io.BytesIO(file), empty_postgres, now_ms=NOW_MS)
    assert of_database(empty_postgres)[2] == before


@pytest.mark.postgres
async def test_a_file_that_is_refused_leaves_the_database_empty(lived: Path, empty_postgres: str) -> None:
    file, _, _ = exported(lived)
    with pytest.raises(SnapshotRefusedError):
        import_into_database(io.BytesIO(file[:-1]), empty_postgres, now_ms=NOW_MS)
    engine = sqlalchemy.create_engine(empty_postgres)
    assert sqlalchemy.inspect(engine).get_table_names() == []
    engine.dispose()


@pytest.mark.postgres
async def test_tables_that_an_agent_made_and_nobody_used_are_as_good_as_none(
    lived: Path, empty_postgres: str
) -> None:
    early = PostgresState(empty_postgres)
    await early.open()
    await early.close()
    file, _, _ = exported(lived)
    import_into_database(io.BytesIO(file), empty_postgres, now_ms=NOW_MS)
    assert of_database(empty_postgres)[1].fabric_id == "fabric-1"


@pytest.mark.postgres
async def test_a_database_of_somebody_else_is_refused(lived: Path, empty_postgres: str) -> None:
    engine = sqlalchemy.create_engine(empty_postgres)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE payroll (who TEXT)"))
    try:
        file, _, _ = exported(lived)
        with pytest.raises(SnapshotRefusedError, match="payroll"):
            import_into_database(io.BytesIO(file), empty_postgres, now_ms=NOW_MS)
        assert sqlalchemy.inspect(engine).get_table_names() == ["payroll"]
    finally:
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("DROP TABLE payroll"))
        engine.dispose()

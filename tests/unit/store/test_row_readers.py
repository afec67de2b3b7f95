"""Reads beside the writer: each in one snapshot, and a copy of the rows as they are at one moment."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from fabric.core.identity.queries import GetFabric, ListProjects
from fabric.store.lone_voter import lone_voter
from fabric.store.row_readers import READERS, RowReaders
from fabric.store.sqlite import DATABASE
from fabric.store.voter_engine import VoterEngine
from proto.ids import RequestId
from tests.fixtures.store_world import ManualClock, fabric_init
from tests.unit.runtime.voter_group import project


@pytest.fixture
async def writer(tmp_path: Path) -> AsyncIterator[VoterEngine]:
    voter = lone_voter(tmp_path, clock=ManualClock())
    await voter.open()
    await voter.propose(fabric_init(), request_id=RequestId("init"))
    yield voter
    await voter.close()


@pytest.fixture
async def readers(writer: VoterEngine, tmp_path: Path) -> AsyncIterator[RowReaders]:
    made = RowReaders(tmp_path / DATABASE)
    yield made
    await made.close()


async def add(writer: VoterEngine, number: int) -> None:
    await writer.propose(project(number), request_id=RequestId(f"q{number}"))


async def names(readers: RowReaders) -> set[str]:
    return {row.name for row in await readers.read(ListProjects())} - {"admin", "service"}


async def test_what_was_answered_is_read(writer: VoterEngine, readers: RowReaders) -> None:
    assert await readers.read(GetFabric()) is not None
    for number in range(5):
        await add(writer, number)
        assert await names(readers) == {f"n{each}" for each in range(number + 1)}


async def test_more_reads_than_threads_are_all_answered_while_others_write(
    writer: VoterEngine, readers: RowReaders
) -> None:
    writes = asyncio.gather(*(add(writer, number) for number in range(20)))
    found = await asyncio.gather(*(names(readers) for _ in range(READERS * 10)))
    await writes
    for rows in found:  # each is what was so at some moment
        assert rows == {f"n{each}" for each in range(len(rows))}
    assert await names(readers) == {f"n{each}" for each in range(20)}


async def test_readers_cannot_write(readers: RowReaders) -> None:
    def write() -> None:
        with readers.engine.connect() as connection:
            connection.exec_driver_sql("CREATE TABLE t (x INTEGER)")

    with pytest.raises(Exception, match="readonly"):
        await readers.run(write)


async def test_a_copy_is_a_database_of_its_own(
    writer: VoterEngine, readers: RowReaders, tmp_path: Path
) -> None:
    await add(writer, 0)
    await readers.copy(tmp_path / "copy")
    await add(writer, 1)
    with closing(sqlite3.connect(tmp_path / "copy")) as copy:
        assert copy.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        found = {name for (name,) in copy.execute("SELECT name FROM projects")}
    assert found - {"admin", "service"} == {"n0"}


async def test_a_copy_that_has_no_place_fails(readers: RowReaders, tmp_path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        await readers.copy(tmp_path / "none" / "copy")
    assert await readers.read(GetFabric()) is not None

"""One voter alone when things go wrong: crashes between its steps, lost and foreign tables, a full disk."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import sqlalchemy.exc

from fabric.core.identity.queries import GetFabric, ListProjects
from fabric.core.queries import Applied
from fabric.errors import CommandRejectedError, Outcome
from fabric.store import voter_compaction, voter_tables
from fabric.store.command_entry import REQUEST_ID_BYTES_MAX
from fabric.store.errors import (
    LogCorruptError,
    SchemaVersionError,
    StoreBusyError,
    StoreFailedError,
    StoreStoppedError,
)
from fabric.store.lone_voter import lone_voter
from fabric.store.sqlite import DATABASE
from fabric.store.voter_engine import VoterEngine
from proto.commands.identity import ProjectCreate
from proto.ids import ProjectId, RequestId
from tests.fixtures.store_world import DOMAIN, ManualClock, fabric_init


def project(number: int, size: int = 0) -> ProjectCreate:
    return ProjectCreate(
        project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}", description="x" * size
    )


async def put(state: VoterEngine, number: int, size: int = 0) -> Applied:
    return await state.propose(project(number, size), request_id=RequestId(f"req-{number}"))


@asynccontextmanager
async def opened(directory: Path, **changes: object) -> AsyncIterator[VoterEngine]:
    state = lone_voter(directory, clock=ManualClock(), segment_bytes=1, **changes)  # type: ignore[arg-type]
    await state.open()
    try:
        if await state.read(GetFabric()) is None:
            await state.propose(fabric_init(), request_id=RequestId("req-init"))
        yield state
    finally:
        await state.close()


async def names(state: VoterEngine) -> set[str]:
    return {found.name for found in await state.read(ListProjects())} - {"admin", "service"}


def lose_tables(directory: Path) -> None:
    for path in directory.glob(f"{DATABASE}*"):
        path.unlink()


def segments(directory: Path) -> int:
    return len(list((directory / "log").glob("*.vseg")))


async def test_lost_tables_are_made_again_from_the_log(tmp_path: Path) -> None:
    """The log is the truth: rows that never reached the disk come back, timestamps and all."""
    async with opened(tmp_path) as state:
        for number in range(30):
            await put(state, number)
        before = await state.read(ListProjects())
    lose_tables(tmp_path)
    async with opened(tmp_path) as state:
        assert await state.read(ListProjects()) == before
        with pytest.raises(CommandRejectedError, match="already used"):  # the request rows too
            await state.propose(project(900), request_id=RequestId("req-3"))


async def test_a_crash_between_log_and_tables_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures: list[BaseException] = []
    async with opened(tmp_path, on_failure=failures.append) as state:
        await put(state, 1)

        def crash(*_arguments: object, **_more: object) -> None:
            raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

        with monkeypatch.context() as broken:
            broken.setattr(voter_tables, "advance", crash)
            with pytest.raises(StoreFailedError) as caught:
                await put(state, 2)
        assert caught.value.outcome is Outcome.UNKNOWN
        with pytest.raises(StoreStoppedError) as stopped:
            await put(state, 3)
        assert stopped.value.outcome is Outcome.NOT_DONE
        assert failures == [state.failure]
    async with opened(tmp_path) as state:
        assert await names(state) == {"n1", "n2"}  # it was in the log, so it happened
        assert (await put(state, 2)).replayed  # asked again under its id


async def test_what_is_left_of_a_compacted_log_is_not_the_truth_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_compaction, "COMPACT_ENTRIES", 5)
    monkeypatch.setattr(voter_compaction, "TRAIL_ENTRIES", 2)
    async with opened(tmp_path) as state:
        for number in range(30):
            await put(state, number)
    lose_tables(tmp_path)
    with pytest.raises(LogCorruptError, match="the log starts behind"):
        async with opened(tmp_path):
            pass


async def test_reads_hold_compaction_back_but_break_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voter_compaction, "SEGMENTS_MAX", 2)
    monkeypatch.setattr(voter_compaction, "TRAIL_SHORT_ENTRIES", 2)
    async with opened(tmp_path) as state:
        with state._rows.engine.connect() as reader, reader.begin():
            reader.exec_driver_sql("SELECT count(*) FROM projects").one()
            for number in range(30):
                await put(state, number, size=200_000)
            held = segments(tmp_path)
        for number in range(30, 45):
            await put(state, number, size=200_000)
    assert held > 4
    assert segments(tmp_path) <= 4
    async with opened(tmp_path) as state:
        assert len(await names(state)) == 45


async def test_a_low_disk_refuses_what_is_new_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        await put(state, 1)
    async with opened(tmp_path, disk_free_bytes_min=1 << 62) as state:
        for _ in range(2):  # and alone it has nobody to hand over to
            with pytest.raises(StoreBusyError, match="disk space") as caught:
                await put(state, 2)
        assert caught.value.outcome is Outcome.NOT_DONE
        assert await names(state) == {"n1"}
    async with opened(tmp_path) as state:
        await put(state, 2)
        assert await names(state) == {"n1", "n2"}


async def test_another_schema_version_is_refused_until_it_fits(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        await put(state, 1)
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        (version,) = connection.execute("SELECT schema_version FROM position").fetchone()
        connection.execute("UPDATE position SET schema_version = 99")
        connection.commit()
    with pytest.raises(SchemaVersionError, match="99"):
        async with opened(tmp_path):
            pass
    with closing(sqlite3.connect(tmp_path / DATABASE)) as connection:
        connection.execute("UPDATE position SET schema_version = ?", (version,))
        connection.commit()
    async with opened(tmp_path) as state:  # what was refused left nothing open
        assert await names(state) == {"n1"}


async def test_secrets_are_in_private_files(tmp_path: Path) -> None:
    home = tmp_path / "state"
    old = os.umask(0)
    try:
        async with opened(home) as state:
            await put(state, 1)
            found = [home, *home.rglob("*")]
            assert [path for path in found if path.stat().st_mode & 0o077] == []
    finally:
        os.umask(old)


async def test_a_request_id_that_no_entry_can_hold_is_rejected(tmp_path: Path) -> None:
    async with opened(tmp_path) as state:
        with pytest.raises(CommandRejectedError, match="too long") as caught:
            await state.propose(project(1), request_id=RequestId("é" * (REQUEST_ID_BYTES_MAX // 2 + 1)))
        assert caught.value.reason == "invalid"
        await put(state, 1)

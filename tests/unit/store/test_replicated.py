"""The embedded engine when things go wrong: crashes between its steps, failing disks, too much work."""

from __future__ import annotations

import asyncio
import errno
import os
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy.exc

import fabric.store.replicated as replicated
from fabric.core.identity.queries import FindProject, GetFabric, ListProjects
from fabric.errors import CommandRejectedError, DeadlineExceededError, NoQuorumError, Outcome
from fabric.store.errors import (
    LogCorruptError,
    SchemaVersionError,
    StoreBusyError,
    StoreFailedError,
    StoreLockedError,
    StoreStoppedError,
)
from fabric.store.log_segment import list_segments
from fabric.store.replicated import DATABASE, ReplicatedState
from proto.commands.identity import ProjectCreate
from proto.ids import ProjectId, RequestId
from tests.fixtures.store_world import DOMAIN, ManualClock, fabric_init


def project(number: int, size: int = 0) -> ProjectCreate:
    return ProjectCreate(
        project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}", description="x" * size
    )


async def put(state: ReplicatedState, number: int, size: int = 0) -> None:
    await state.propose(project(number, size), request_id=RequestId(f"req-{number}"))


async def opened(directory: Path, **changes: object) -> ReplicatedState:
    state = ReplicatedState(directory, clock=ManualClock(), segment_bytes=1, **changes)  # type: ignore[arg-type]
    await state.open()
    if await state.read(GetFabric()) is None:
        await state.propose(fabric_init(), request_id=RequestId("req-init"))
    return state


async def names(state: ReplicatedState) -> set[str]:
    return {found.name for found in await state.read(ListProjects())} - {"admin", "service"}


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    for number in range(5):
        await put(state, number)
    index = state.applied_index
    await state.close()
    again = await opened(tmp_path)
    assert again.applied_index == index
    assert await names(again) == {f"n{number}" for number in range(5)}
    await put(again, 5)
    assert again.applied_index == index + 1
    await again.close()


async def test_a_lost_database_is_made_again_from_the_log(tmp_path: Path) -> None:
    """The log is the truth: rows that never reached the disk come back, timestamps and all."""
    state = await opened(tmp_path)
    for number in range(700):  # more than one group of the recovery
        await put(state, number)
    before = await state.read(ListProjects())
    await state.close()
    for path in tmp_path.glob(f"{DATABASE}*"):
        path.unlink()
    again = await opened(tmp_path)
    assert await again.read(ListProjects()) == before
    with pytest.raises(CommandRejectedError, match="already used"):  # the request rows too
        await again.propose(project(900), request_id=RequestId("req-3"))
    await again.close()


async def test_a_crash_between_log_and_tables_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = await opened(tmp_path)
    await put(state, 1)

    def crash(*_arguments: object, **_more: object) -> None:
        raise sqlalchemy.exc.OperationalError("COMMIT", {}, Exception("disk I/O error"))

    with monkeypatch.context() as broken:
        broken.setattr(replicated, "advance", crash)
        with pytest.raises(StoreFailedError) as caught:
            await put(state, 2)
    assert caught.value.outcome is Outcome.UNKNOWN
    assert await names(state) == {"n1"}  # reads go on
    with pytest.raises(StoreStoppedError) as stopped:
        await put(state, 3)
    assert stopped.value.outcome is Outcome.NOT_DONE
    await state.close()
    again = await opened(tmp_path)
    assert await names(again) == {"n1", "n2"}  # it was in the log, so it happened
    await put(again, 2)  # asked again under its id: a replay
    await again.close()


async def test_old_segments_go_and_a_restart_needs_only_the_rest(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    for number in range(30):
        await put(state, number, size=200_000)
    assert len(list_segments(tmp_path / "log")) <= 2
    assert state._log.first_index > 1
    await state.close()
    again = await opened(tmp_path)
    assert len(await names(again)) == 30
    await again.close()
    for path in tmp_path.glob(f"{DATABASE}*"):
        path.unlink()
    with pytest.raises(LogCorruptError, match="the log starts at"):  # the rest alone is not the truth
        await opened(tmp_path)


async def test_reads_hold_compaction_back_but_break_nothing(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    with state._readers_engine.connect() as reader, reader.begin():
        reader.exec_driver_sql("SELECT count(*) FROM projects").one()
        for number in range(30):
            await put(state, number, size=200_000)
        held = len(list_segments(tmp_path / "log"))
    for number in range(30, 45):
        await put(state, number, size=200_000)
    assert held > 2
    assert len(list_segments(tmp_path / "log")) <= 2
    await state.close()


@pytest.mark.parametrize(("function", "code"), [("fdatasync", errno.EIO), ("pwrite", errno.ENOSPC)])
async def test_a_failing_disk_stops_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int
) -> None:
    failures: list[BaseException] = []
    state = await opened(tmp_path, on_failure=failures.append)
    await put(state, 1)

    def fail(*_arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as broken:
        broken.setattr(os, function, fail)
        answers = await asyncio.gather(
            *(put(state, number) for number in range(2, 40)), return_exceptions=True
        )
    assert {type(answer) for answer in answers} <= {StoreFailedError, StoreStoppedError}
    assert any(isinstance(answer, StoreFailedError) for answer in answers)
    assert all(isinstance(answer, DeadlineExceededError | NoQuorumError) for answer in answers)
    with pytest.raises(StoreStoppedError):  # the disk is well again: still no
        await put(state, 50)
    assert len(failures) == 1
    assert state.failure is failures[0]
    assert await names(state) == {"n1"}
    await state.close()
    again = await opened(tmp_path)
    assert "n1" in await names(again)
    for number in range(2, 40):
        await put(again, number)  # under the same ids: once each, whatever had been written
    assert len(await names(again)) == 39
    await again.close()


async def test_low_disk_refuses_and_recovers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = await opened(tmp_path)
    with monkeypatch.context() as full:
        full.setattr(ReplicatedState, "_disk_is_low", lambda _self: True)
        with pytest.raises(StoreBusyError, match="disk space") as caught:
            await put(state, 1)
    assert caught.value.outcome is Outcome.NOT_DONE
    await put(state, 1)
    assert await names(state) == {"n1"}
    await state.close()


async def test_too_much_in_flight_is_refused(tmp_path: Path) -> None:
    state = await opened(tmp_path, in_flight_max=10)
    answers = await asyncio.gather(*(put(state, number) for number in range(40)), return_exceptions=True)
    refused = [answer for answer in answers if isinstance(answer, StoreBusyError)]
    assert len(refused) == 30
    assert len(await names(state)) == 10
    await put(state, 99)
    await state.close()


async def test_a_directory_has_one_owner(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    with pytest.raises(StoreLockedError, match="in use"):
        await opened(tmp_path)
    await state.close()
    await (await opened(tmp_path)).close()


async def test_tables_of_another_log_are_refused(tmp_path: Path) -> None:
    one = await opened(tmp_path / "one")
    await put(one, 1)
    await one.close()
    two = await opened(tmp_path / "two")
    await put(two, 2)
    await two.close()
    (tmp_path / "one" / DATABASE).rename(tmp_path / "two" / DATABASE)
    with pytest.raises(LogCorruptError, match="not of this log"):
        await opened(tmp_path / "two")


async def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    await (await opened(tmp_path)).close()
    connection = sqlite3.connect(tmp_path / DATABASE)
    connection.execute("UPDATE position SET schema_version = 99")
    connection.commit()
    connection.close()
    with pytest.raises(SchemaVersionError, match="99"):
        await opened(tmp_path)


async def test_secrets_are_in_private_files(tmp_path: Path) -> None:
    state = await opened(tmp_path / "state")
    await put(state, 1)
    for path in (tmp_path / "state").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
    await state.close()


async def test_closing_ends_what_is_in_flight(tmp_path: Path) -> None:
    state = await opened(tmp_path)
    waiting = [asyncio.create_task(put(state, number)) for number in range(50)]
    await asyncio.sleep(0)
    await state.close()
    await asyncio.gather(*waiting)
    again = await opened(tmp_path)
    assert len(await names(again)) == 50
    assert await again.read(FindProject(name="n49")) is not None
    await again.close()

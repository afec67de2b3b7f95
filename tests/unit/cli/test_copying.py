"""`fabric backup`, `fabric state`: copies of the rows, from an agent or from a directory nobody uses."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, cast

import pytest

from fabric.agent_copies import SCRATCH, AgentCopies, NoCopyError
from fabric.agent_voter import VoterSide
from fabric.config import Config, NodeSection
from fabric.runtime import local_socket
from fabric.runtime.authority import ROOT_FILE
from fabric.runtime.clock import SystemClock
from fabric.runtime.events import EventLog
from fabric.store import files
from fabric.store.backup import opened_backup, read_manifest
from fabric.store.errors import SnapshotRefusedError
from fabric.store.life_swap import STATE
from fabric.store.lock import DirectoryLock
from fabric.store.rows_export import export_voter
from fabric.store.rows_file import RowsReader
from tests.fixtures.local_agent import CopyDeskDouble, local_parts
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.unit.cli.asking import Asked, asked
from tests.unit.store.disaster_world import make_survivor

__all__ = ["asked"]  # a fixture, used by its name


class Side:
    """As much of a `VoterSide` as copies ask."""

    is_serving = True
    voter_id: str | None = "v"


def copies(directory: Path, side: Side | None = None) -> AgentCopies:
    config = Config(node=NodeSection(name="me", state_dir=str(directory)))
    clock = SystemClock()
    voter = cast("VoterSide | None", Side() if side is None else side)
    return AgentCopies(config, lambda: voter, clock, EventLog(clock))


class Gives(CopyDeskDouble):
    def __init__(self, data: bytes) -> None:
        self._data = data

    async def export(self) -> IO[bytes]:
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller's
        file.write(self._data)
        file.seek(0)
        return file


def view() -> MeshDouble:
    return MeshDouble([member_named("me")])


@pytest.mark.parametrize("command", [("backup",), ("state", "export")])
def test_a_running_agent_makes_it_and_says_why_it_does_not(asked: Asked, command: tuple[str, ...]) -> None:
    make_survivor(asked.directory, folded=4, logged=6)  # there to be read, and not to be touched
    with asked.answering(local_parts(view())):
        done = asked(*command, "copy")
    assert done.returncode == 1
    assert "not on this node" in done.stderr
    assert not list(asked.directory.glob("copy*"))


def test_what_a_running_agent_gives_is_whole_or_not_there(asked: Asked) -> None:
    make_survivor(asked.directory, folded=4, logged=6)
    out = io.BytesIO()
    export_voter(asked.directory / STATE, out, now_ms=5)
    for data, code in ((out.getvalue()[:-1], 1), (out.getvalue(), 0)):
        with asked.answering(local_parts(view(), copies=Gives(data))):
            done = asked("state", "export", "copy", "--json")
        assert done.returncode == code, done.stderr
        assert (asked.directory / "copy").exists() is (code == 0)
        assert not (asked.directory / "copy.tmp").exists()
    assert (json.loads(done.stdout)["index"], json.loads(done.stdout)["running"]) == (4, True)
    assert "what is written after entry 4 is not in it" in done.stderr


@pytest.mark.parametrize(("command", "index"), [(("backup",), 4), (("state", "export"), 6)])
def test_where_no_agent_runs_the_directory_is_read(
    asked: Asked, command: tuple[str, ...], index: int
) -> None:
    make_survivor(asked.directory, folded=4, logged=6)
    done = asked(*command, "copy")
    assert (done.returncode, f"entries up to {index} " in done.stderr) == (0, True), done.stderr
    assert (asked.directory / "copy").stat().st_mode & 0o777 == 0o600
    assert "agents run" not in done.stderr


def test_a_directory_that_somebody_uses_is_not_read(asked: Asked) -> None:
    make_survivor(asked.directory, folded=4, logged=6)
    lock = DirectoryLock(asked.directory)
    lock.acquire()
    try:
        done = asked("backup", "copy")
    finally:
        lock.release()
    assert (done.returncode, "in use by another process" in done.stderr) == (1, True)


def test_an_agent_that_does_not_answer_is_not_gone_around(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_survivor(asked.directory, folded=4, logged=6)
    monkeypatch.setattr(
        local_socket.LocalClient.__init__, "__kwdefaults__", {"timeout_s": 1, "read_timeout_s": 0.1}
    )
    listener = local_socket.bind(asked.directory)
    try:
        done = asked("backup", "copy")
    finally:
        listener.close()
    assert (done.returncode, "does not answer" in done.stderr) == (1, True), done.stderr
    assert not (asked.directory / "copy").exists()


async def test_the_agents_copies_are_sound_and_leave_nothing_behind(tmp_path: Path) -> None:
    make_survivor(tmp_path, folded=4, logged=6)
    (tmp_path / ROOT_FILE).write_bytes(b"k" * 32)
    before = sorted(tmp_path.iterdir())
    with await copies(tmp_path).export() as exported:
        reader = RowsReader(exported)
        assert sum(1 for _ in reader.content()) > reader.sum.rows > 0
    for with_root_key in (False, True):
        with await copies(tmp_path).back_up(with_root_key=with_root_key) as made:
            assert read_manifest(made).index == 4
            made.seek(0)
            (tmp_path / "b").write_bytes(made.read())
        with opened_backup(tmp_path / "b", tmp_path / "x") as (_, root_key, _):
            assert root_key == (b"k" * 32 if with_root_key else b"")
        (tmp_path / "b").unlink()
        (tmp_path / "x").unlink()
    assert sorted(tmp_path.iterdir()) == before
    assert not (tmp_path / SCRATCH).exists()


async def test_a_copy_never_fills_the_disk_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_survivor(tmp_path, folded=4, logged=6)
    monkeypatch.setattr("fabric.agent_copies.DISK_FREE_BYTES_MIN", 1 << 60)
    for make in (copies(tmp_path).export, lambda: copies(tmp_path).back_up(with_root_key=False)):
        with pytest.raises(NoCopyError, match="MiB are free"):
            await make()


async def test_who_has_no_rows_and_who_has_a_database_say_where_to_turn(tmp_path: Path) -> None:
    host, shared = Side(), Side()
    host.is_serving = False
    shared.voter_id = None
    with pytest.raises(NoCopyError, match="fabric voters list"):
        await copies(tmp_path, host).export()
    with pytest.raises(NoCopyError, match="fabric state export"):
        await copies(tmp_path, shared).back_up(with_root_key=False)


@pytest.mark.parametrize("force", [False, True])
def test_a_file_that_did_not_become_whole_leaves_the_one_before(tmp_path: Path, force: bool) -> None:
    path = tmp_path / "f"
    if force:
        path.write_bytes(b"before")

    def fail(write: Callable[[bytes], object]) -> None:
        write(b"half")
        raise SnapshotRefusedError("no")

    with pytest.raises(SnapshotRefusedError), files.new_private_file(path, force=force) as out:
        fail(out.write)
    assert [each.name for each in tmp_path.iterdir()] == (["f"] if force else [])
    assert not force or path.read_bytes() == b"before"

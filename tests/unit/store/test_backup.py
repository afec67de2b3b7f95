"""A backup is whole or not there; restored, it is a new life of the group; damaged, it is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.store import new_life
from fabric.store.backup import Manifest, opened_backup, write_backup
from fabric.store.errors import SnapshotRefusedError
from fabric.store.life_swap import STATE, settle
from fabric.store.new_life import INDEX_LEAP
from fabric.store.restore import restore_backup
from fabric.store.sqlite import DATABASE
from tests.fixtures.store_world import NODE
from tests.unit.store.disaster_world import SURVIVOR, TERM, life_of, make_survivor, names, opened


def backed_up(tmp_path: Path, **changes: object) -> tuple[Path, Manifest]:
    state = make_survivor(tmp_path / "old", folded=6, logged=6)
    file = tmp_path / "rows.tar"
    made = write_backup(state / DATABASE, file, incarnation=4, now_ms=5, **changes)  # type: ignore[arg-type]
    return file, made


def test_it_says_what_is_in_it_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file, made = backed_up(tmp_path)
    assert (made.index, made.term, made.incarnation, made.made_ms) == (6, TERM, 4, 5)
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.glob("rows*")] == ["rows.tar"]
    with opened_backup(file, tmp_path / "x") as (read, root_key, _):
        assert (read, root_key) == (made, b"")


def test_the_root_key_is_in_it_only_when_asked_for(tmp_path: Path) -> None:
    file, _ = backed_up(tmp_path, root_key=b"k" * 32)
    with opened_backup(file, tmp_path / "x") as (_, root_key, _):
        assert root_key == b"k" * 32


def test_it_never_replaces_another_unless_forced(tmp_path: Path) -> None:
    file, _ = backed_up(tmp_path)
    database = tmp_path / "old" / STATE / DATABASE
    before = file.read_bytes()
    with pytest.raises(FileExistsError):
        write_backup(database, file, incarnation=4, now_ms=9_000)
    assert file.read_bytes() == before
    write_backup(database, file, incarnation=5, now_ms=9_000, force=True)
    with opened_backup(file, tmp_path / "x") as (read, _, _):
        assert read.incarnation == 5


async def test_restored_it_is_one_voter_of_a_new_life(tmp_path: Path) -> None:
    file, _ = backed_up(tmp_path)
    node = tmp_path / "node"
    node.mkdir()
    life, made, before = restore_backup(file, node, NODE, now_ms=1, force=False)
    assert (life.incarnation, life.index, before) == (5, made.index + INDEX_LEAP, None)
    engine = await opened(node / STATE)
    assert await names(engine) == {"n3", "n4", "n5", "n6"}
    assert engine.term > TERM
    await engine.close()


def test_a_state_that_is_there_is_set_aside_only_when_forced(tmp_path: Path) -> None:
    file, _ = backed_up(tmp_path)
    state = make_survivor(tmp_path / "node", folded=3, logged=3)
    with pytest.raises(SnapshotRefusedError, match="--force"):
        restore_backup(file, tmp_path / "node", NODE, now_ms=1, force=False)
    assert life_of(state)[0] == SURVIVOR
    life, _, before = restore_backup(file, tmp_path / "node", NODE, now_ms=1, force=True)
    assert before is not None
    assert life_of(before)[0] == SURVIVOR
    assert life_of(state) == (life.voter, life.incarnation)


@pytest.mark.parametrize("part", [0.0, 0.2, 0.5, 0.9])
def test_a_damaged_one_is_refused_and_changes_nothing(tmp_path: Path, part: float) -> None:
    file, _ = backed_up(tmp_path)
    state = make_survivor(tmp_path / "node", folded=3, logged=3)
    whole = file.read_bytes()
    at = int(len(whole) * part)
    for damaged in (whole[:at], whole[:at] + b"\xff\x01\xfe" + whole[at + 3 :]):
        if damaged == whole[:at] and at > 0 and whole[at:].strip(b"\0") == b"":
            continue
        file.write_bytes(damaged)
        with pytest.raises(SnapshotRefusedError):
            restore_backup(file, tmp_path / "node", NODE, now_ms=1, force=True)
        assert settle(tmp_path / "node") is None
        assert life_of(state)[0] == SURVIVOR


def test_a_crash_in_the_middle_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, _ = backed_up(tmp_path)
    state = make_survivor(tmp_path / "node", folded=3, logged=3)

    class CrashedError(Exception):
        pass

    def crash(*_: object) -> None:
        raise CrashedError

    monkeypatch.setattr(new_life, "write_incarnation", crash)
    with pytest.raises(CrashedError):
        restore_backup(file, tmp_path / "node", NODE, now_ms=1, force=True)
    assert settle(tmp_path / "node") is None
    assert life_of(state)[0] == SURVIVOR

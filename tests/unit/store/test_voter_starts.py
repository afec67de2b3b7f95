"""A voter's directory that was put back from an older copy does not pass for the one it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fabric.store.errors import LogCorruptError
from fabric.store.life_swap import STATE
from fabric.store.voter_id import name_voter, voter_here
from fabric.store.voter_starts import STARTS_FILE, count_start, is_older_than_its_node
from tests.fixtures.store_world import NODE


def started(node: Path, times: int = 1) -> Path:
    state = node / STATE
    for _ in range(times):
        voter_here(state, NODE)
        assert not is_older_than_its_node(state, node)
        count_start(state, node)
    return state


def put_back(copy: Path, state: Path) -> None:
    shutil.rmtree(state)
    shutil.copytree(copy, state)


def test_an_older_copy_is_told_from_the_directory_it_was(tmp_path: Path) -> None:
    node, copy = tmp_path / "node", tmp_path / "copy"
    state = started(node, 2)
    shutil.copytree(state, copy)
    assert not is_older_than_its_node(state, node)
    started(node)
    put_back(copy, state)
    assert is_older_than_its_node(state, node)
    count_start(state, node)  # whoever goes on with it nevertheless says so once
    assert not is_older_than_its_node(state, node)


def test_a_voter_that_was_put_back_in_the_place_of_a_later_one_is_older(tmp_path: Path) -> None:
    """The later one came when the disk of the former was not trusted any more."""
    node, copy = tmp_path / "node", tmp_path / "copy"
    state = started(node, 3)
    state.rename(copy)
    name_voter(state, NODE)
    assert not is_older_than_its_node(state, node), "a new voter on a node that had another"
    started(node)
    put_back(copy, state)
    assert is_older_than_its_node(state, node)


def test_a_copy_from_before_starts_were_counted_is_older(tmp_path: Path) -> None:
    node = tmp_path / "node"
    state = node / STATE
    voter_here(state, NODE)
    (state / STARTS_FILE).unlink()
    assert not is_older_than_its_node(state, node), "nor are they counted beside it"
    started(node)
    (state / STARTS_FILE).unlink()
    assert is_older_than_its_node(state, node)


def test_a_crash_between_the_two_counts_is_no_older_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fabric.store import voter_starts

    node = tmp_path / "node"
    state = started(node, 2)
    real = voter_starts.write_private

    def dies_beside(path: Path, data: bytes) -> None:
        if path.parent == node:
            raise OSError("power lost")
        real(path, data)

    monkeypatch.setattr(voter_starts, "write_private", dies_beside)
    with pytest.raises(OSError, match="power"):
        count_start(state, node)
    monkeypatch.undo()
    assert (state / STARTS_FILE).read_text() == "3"
    assert not is_older_than_its_node(state, node)
    started(node)


@pytest.mark.parametrize("content", [b"", b"-1", b"x", b"\xff"])
def test_a_damaged_count_is_no_count(tmp_path: Path, content: bytes) -> None:
    state = started(tmp_path)
    (state / STARTS_FILE).write_bytes(content)
    with pytest.raises(LogCorruptError, match="damaged"):
        is_older_than_its_node(state, tmp_path)

"""Under which name a disk votes: kept for its life, and never the one of a disk before."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.store.errors import LogCorruptError
from fabric.store.voter_id import VOTER_ID_FILE, known_voter_id, name_voter, voter_here
from fabric.store.voter_starts import STARTS_FILE
from proto.ids import NodeId, node_of

NODE, OTHER = NodeId("a" * 32), NodeId("2" * 32)


def test_a_name_is_known_from_then_on(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"
    assert known_voter_id(directory) is None
    voter = name_voter(directory, NODE)
    assert known_voter_id(directory) == voter
    assert node_of(voter) == NODE
    assert {path.name for path in directory.iterdir()} == {VOTER_ID_FILE, STARTS_FILE}
    assert (directory / VOTER_ID_FILE).stat().st_mode & 0o077 == 0


def test_no_two_lives_have_one_name(tmp_path: Path) -> None:
    names = {name_voter(tmp_path / str(life), NODE) for life in range(20)}
    assert len(names) == 20


def test_a_naming_cut_short_leaves_no_name(tmp_path: Path) -> None:
    (tmp_path / f"{VOTER_ID_FILE}.new").write_text("x" * 99)
    assert known_voter_id(tmp_path) is None
    assert known_voter_id(tmp_path) is None
    assert name_voter(tmp_path, NODE) == known_voter_id(tmp_path)


@pytest.mark.parametrize("content", [b"", b"a" * 32, b".", b"." + b"1" * 8, b"a" * 32 + b".", b"\xff\xfe.1"])
def test_a_damaged_name_is_no_name(tmp_path: Path, content: bytes) -> None:
    """A new one beside the old log would be a voter that forgets its votes."""
    (tmp_path / VOTER_ID_FILE).write_bytes(content)
    with pytest.raises(LogCorruptError, match=r"voter\.id is damaged"):
        known_voter_id(tmp_path)


def test_a_directory_keeps_its_voter(tmp_path: Path) -> None:
    voter = voter_here(tmp_path / "state", NODE)
    assert node_of(voter) == NODE
    assert voter_here(tmp_path / "state", NODE) == voter


def test_a_copy_of_another_nodes_directory_does_not_vote(tmp_path: Path) -> None:
    voter_here(tmp_path / "state", NODE)
    with pytest.raises(LogCorruptError, match=NODE):
        voter_here(tmp_path / "state", OTHER)

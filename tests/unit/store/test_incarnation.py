"""A voter's directory says which life of its group it belongs to, and a damaged word is not guessed."""

from __future__ import annotations

from pathlib import Path

import pytest

from fabric.store.errors import LogCorruptError
from fabric.store.incarnation import FIRST_INCARNATION, INCARNATION_FILE, read_incarnation, write_incarnation
from fabric.store.voter_id import FAILED, FORMER, disown_voter, known_voter_id, name_voter, set_aside
from tests.fixtures.store_world import NODE


def test_what_is_written_is_read_and_nothing_is_the_first(tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert read_incarnation(state) == FIRST_INCARNATION
    write_incarnation(state, 7)
    assert read_incarnation(state) == 7


@pytest.mark.parametrize("text", ["", "x", "0", "-1", "9223372036854775808", "\u0663"])
def test_a_damaged_one_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INCARNATION_FILE).write_text(text)
    with pytest.raises(LogCorruptError):
        read_incarnation(tmp_path)


@pytest.mark.parametrize("why", [FAILED, FORMER])
def test_a_disowned_voter_is_set_aside_at_the_next_start_with_all_it_had(tmp_path: Path, why: str) -> None:
    state = tmp_path / "state"
    voter = name_voter(state, NODE)
    assert set_aside(state) is None
    disown_voter(state, why)
    assert known_voter_id(state) is None
    aside = set_aside(state)
    assert aside == tmp_path / f"state.{why}-{voter.rpartition('.')[2]}"
    assert aside.is_dir()
    assert not state.exists()

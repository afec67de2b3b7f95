"""What a host says of itself is short, and what cannot be read is not said."""

from __future__ import annotations

import pytest

from fabric.core.placement.host_word import (
    FAILED_BUILDS,
    FAILED_BUILDS_MAX,
    NOTHING_SAID,
    HostWord,
    read_word,
    write_word,
)


def test_what_is_written_is_read() -> None:
    word = HostWord(failed_builds=3)
    assert read_word(write_word(word)) == word
    assert read_word(write_word(NOTHING_SAID)) == NOTHING_SAID


def test_nothing_takes_no_room() -> None:
    assert write_word(NOTHING_SAID) == {}


def test_a_number_is_bounded_where_it_is_said() -> None:
    assert read_word(write_word(HostWord(failed_builds=1_000_000))).failed_builds == FAILED_BUILDS_MAX


@pytest.mark.parametrize("text", ["", "-1", "many", "1e3", "٣", "99999999999999999999", "1 2"])
def test_what_no_host_says_counts_as_not_said(text: str) -> None:
    assert read_word({FAILED_BUILDS: text, "of later software": "x"}) == NOTHING_SAID

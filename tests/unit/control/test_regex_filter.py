"""Patterns of users: what is let through is cheap, what is not is refused."""

from __future__ import annotations

import re
import time

import pytest

from fabric.control.errors import InvalidError
from fabric.control.regex_filter import checked_pattern


@pytest.mark.parametrize(
    "pattern",
    ["web", "^web-.*$", r"^web-\d+\.example\.(org|net)$", "a?b?c?", "(web|db)-1", "[a-z]+-[0-9]+", ".*"],
)
def test_what_people_write_is_let_through(pattern: str) -> None:
    assert checked_pattern("name", pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        "(",
        "[",
        "*",
        "(a+)+$",
        "(a*)*b",
        "(a|a)*b",
        "(a|aa)+$",
        ".*.*.*x",
        r"(a)\1",
        "(?=a*)b",
        "(a{1,200}){1,200}",
        "a{9999}",
        "a" * 256,
    ],
)
def test_what_could_hold_a_thread_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidError, match="name"):
        checked_pattern("name", pattern)


def test_the_worst_that_is_let_through_is_still_fast() -> None:
    pattern = re.compile(checked_pattern("name", "a*a*b"))
    began = time.perf_counter()
    assert pattern.search("a" * 255) is None
    assert time.perf_counter() - began < 2.0  # about 20 ms on a quiet machine

"""Sets of processors, as Nova's operators write them."""

from __future__ import annotations

import pytest

from fabric.core.placement.cpu_set import format_cpu_set, parse_cpu_set


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("", set()),
        ("3", {3}),
        ("4-7,^6,15", {4, 5, 7, 15}),
        (" 0 - 1 , 3 ,", {0, 1, 3}),
        ("^2,0-3", {0, 1, 3}),  # wherever the caret stands
        ("0-7,^2-5", {0, 1, 6, 7}),
        ("0-1,^0-1", set()),
    ],
)
def test_what_a_set_names(text: str, cpus: set[int]) -> None:
    assert parse_cpu_set(text) == cpus


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1-2-3", "1;2", "^", "5-2", "0-99999", "4096", "0x1"])
def test_what_names_nothing_is_refused_by_its_part(text: str) -> None:
    with pytest.raises(ValueError, match=r"0-99999|4096" if text[-1] in "96" else "^'"):
        parse_cpu_set(f"1,{text}")


def test_sets_are_shown_in_runs() -> None:
    assert format_cpu_set({5, 0, 2, 1}) == "0-2,5"
    assert format_cpu_set(()) == ""

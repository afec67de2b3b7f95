"""Which threads of which cores are taken, and that what is promised of siblings is kept for any of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.compute.siblings import choose_threads

PAIRS = [(0, 4), (1, 5), (2, 6), (3, 7)]


@pytest.mark.parametrize(
    ("free", "count", "policy", "chosen"),
    [
        (range(8), 4, "prefer", (0, 4, 1, 5)),
        (range(8), 3, "prefer", (0, 4, 1)),
        ({0, 4, 1, 3}, 3, "prefer", (0, 4, 1)),  # what others left of their cores, before a whole one
        ({0, 1, 2}, 3, "prefer", (0, 1, 2)),
        ({0, 1}, 3, "prefer", None),
        ({0, 4, 1}, 1, "prefer", (1,)),
        ({1, 0, 4}, 2, "require", (0, 4)),
        ({0, 1, 2, 3}, 2, "require", None),
        ({0, 4, 1, 5}, 3, "require", (0, 4, 1)),
        (range(8), 3, "isolate", (0, 1, 2)),
        ({0, 4, 1, 2, 6}, 3, "isolate", None),
        ({9, 8, 0}, 3, "prefer", (8, 9, 0)),  # 8 and 9 have no siblings: they are whole
        ({9, 8}, 2, "require", None),
        ({9, 8}, 2, "isolate", (8, 9)),
        ((), 0, "prefer", ()),
    ],
)
def test_choices(free: set[int], count: int, policy: str, chosen: tuple[int, ...] | None) -> None:
    assert choose_threads(set(free), PAIRS, count, policy) == chosen


@given(
    st.sets(st.integers(0, 11)),
    st.integers(1, 12),
    st.sampled_from(["prefer", "require", "isolate"]),
    st.sampled_from([2, 4]),
)
def test_any_choice_is_of_the_free_and_as_promised(
    free: set[int], count: int, policy: str, threads: int
) -> None:
    cores = [tuple(range(first, first + threads)) for first in range(0, 12, threads)]
    chosen = choose_threads(free, cores, count, policy)
    whole = [core for core in cores if free.issuperset(core)]
    if chosen is None:
        shared = [len(free.intersection(core)) for core in cores]
        room = {
            "prefer": len(free),
            "require": sum(each for each in shared if each > 1),
            "isolate": len(whole),
        }
        assert count > room[policy]
        return
    assert len(set(chosen)) == count == len(chosen)
    assert free.issuperset(chosen)
    if policy == "isolate":
        assert all(sum(cpu in core for cpu in chosen) <= 1 for core in cores)
    if policy == "require":
        assert all(len(free.intersection(core)) > 1 for core in cores if set(core) & set(chosen))

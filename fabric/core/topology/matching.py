"""Each of some wishes gets something of its own, if there is a way: maximum matching by augmenting paths
(Kuhn, 1955). The same inputs in the same order give the same result."""

from __future__ import annotations

from collections.abc import Sequence


def match(choices: Sequence[Sequence[int]], count: int) -> list[int] | None:
    """Of each wish, what it gets of the things 0 to `count` - 1. `choices`: what would do for it, the best
    first: it gets that unless another wish would go without. None: not all can have something."""
    holder: list[int | None] = [None] * count
    for wish in range(len(choices)):
        if not _given(wish, choices, holder, [False] * count):
            return None
    got = [-1] * len(choices)
    for thing, wish_ in enumerate(holder):
        if wish_ is not None:
            got[wish_] = thing
    return got


def _given(
    wish: int, choices: Sequence[Sequence[int]], holder: list[int | None], is_seen: list[bool]
) -> bool:
    """Whether it gets one; others may have to take their next best. No deeper than there are wishes."""
    for thing in choices[wish]:
        if holder[thing] is None and not is_seen[thing]:
            holder[thing] = wish
            return True
    for thing in choices[wish]:
        if is_seen[thing]:
            continue
        is_seen[thing] = True
        other = holder[thing]
        assert other is not None
        if _given(other, choices, holder, is_seen):
            holder[thing] = wish
            return True
    return False

"""A process that has settled does not look at all its objects because it has read many."""

from __future__ import annotations

import subprocess
import sys

import pytest

OBJECTS = 200_000  # that come to stay, some ten for each of 10,000 hosts and more
PROGRAM = f"""
import gc
from fabric.runtime.collection import settle
class Circle:
    gone = 0
    def __init__(self): self.me = self
    def __del__(self): Circle.gone += 1
kept = [[number] for number in range({OBJECTS} // 2)]
if "settled" in __import__("sys").argv:
    settle()
looks = gc.get_stats()[2]["collections"]
for _ in range(1_000):
    Circle()
kept += [[number] for number in range({OBJECTS})]
print(gc.get_stats()[2]["collections"] - looks, Circle.gone, gc.get_freeze_count())
"""


def ran(*argv: str) -> tuple[int, ...]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *argv], check=True, capture_output=True, text=True, timeout=60
    )
    return tuple(int(word) for word in done.stdout.split())


@pytest.mark.parametrize("argv", [(), ("settled",)])
def test_only_who_has_not_settled_looks_at_everything_when_much_comes_to_stay(argv: tuple[str, ...]) -> None:
    looks, gone, set_aside = ran(*argv)
    assert gone == 1_000, "circles among the young are found as ever"
    if argv:
        assert (looks, set_aside > OBJECTS // 2) == (0, True)
    else:
        assert (looks > 0, set_aside) == (True, 0)

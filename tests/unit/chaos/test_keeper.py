"""Who ends by itself is started again, and told of; who was ended stays down."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.chaos.keeper import Keeper
from tests.fixtures.dev_fabric import eventually

SLEEPER = (sys.executable, "-c", "import signal; signal.pause()")


@pytest.fixture
def spawned() -> list[subprocess.Popen[bytes]]:
    return []


@pytest.fixture
def keeper(spawned: list[subprocess.Popen[bytes]]) -> Iterator[Keeper]:
    def spawn(name: str) -> subprocess.Popen[bytes]:
        spawned.append(subprocess.Popen(SLEEPER))
        return spawned[-1]

    made = Keeper(spawn, lambda name: "last words")
    made.start()
    try:
        yield made
    finally:
        made.close()
        for process in spawned:
            process.kill()
            process.wait()


def test_one_that_ends_is_started_again_and_told_of_once(
    keeper: Keeper, spawned: list[subprocess.Popen[bytes]]
) -> None:
    keeper.begin("h1")
    first = keeper.pid("h1")
    spawned[0].kill()
    eventually(lambda: keeper.pid("h1") not in (None, first), what="another life")
    assert keeper.ended == ["h1: status -9: last words"]


def test_one_that_was_ended_stays_down(keeper: Keeper, spawned: list[subprocess.Popen[bytes]]) -> None:
    keeper.begin("h1")
    keeper.end(["h1"], signal.SIGKILL)
    assert keeper.pid("h1") is None
    keeper.begin("h2")
    spawned[1].kill()
    eventually(lambda: len(spawned) == 3, what="h2's other life")  # by then h1's would be there as well
    assert keeper.pid("h1") is None
    assert [told.split(":")[0] for told in keeper.ended] == ["h2"]


def test_one_that_may_end_is_started_again_and_nobody_is_told(
    keeper: Keeper, spawned: list[subprocess.Popen[bytes]]
) -> None:
    keeper.begin("h1")
    keeper.may_end("h1", True)
    spawned[0].kill()
    eventually(lambda: len(spawned) == 2, what="another life")
    assert keeper.ended == []

"""kill -9 at any point: no acknowledged write is lost, none happens twice."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from fabric.core.identity.queries import ListProjects
from fabric.errors import CommandRejectedError
from fabric.runtime.clock import SystemClock
from fabric.store.lone_voter import lone_voter
from proto.commands.identity import ProjectCreate
from proto.ids import ProjectId, RequestId
from tests.fixtures.store_world import DOMAIN

ROOT = Path(__file__).parents[2]
KILLS = 12
SEED = 20261121


def run_and_kill(directory: Path, first: int, acknowledgements: int) -> list[int]:
    """Starts a writer, kills it after so many acknowledgements; gives every number it acknowledged."""
    argv = [sys.executable, "-m", "tests.fixtures.store_writer", str(directory), str(first)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    acknowledged: list[int] = []
    try:
        started = process.stdout.readline()
        assert started == b"ready\n", process.stderr.read().decode()
        while len(acknowledged) < acknowledgements:
            line = process.stdout.readline()
            assert line, process.stderr.read().decode()
            acknowledged.append(int(line))
    finally:
        os.kill(process.pid, signal.SIGKILL)
        rest = process.stdout.read()
        process.stderr.close()
        process.stdout.close()
        process.wait(timeout=30)
    # what stood in the pipe was acknowledged too; only a whole line was said
    whole = rest[: rest.rfind(b"\n") + 1]
    return acknowledged + [int(line) for line in whole.split()]


@pytest.mark.slow
async def test_no_acknowledged_write_is_lost_and_none_happens_twice(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    directory = tmp_path / "state"
    acknowledged: list[int] = []
    first = 0
    for _ in range(KILLS):
        acknowledged += run_and_kill(directory, first, chance.randrange(1, 400))
        state = lone_voter(directory, clock=SystemClock(), segment_bytes=1)
        await state.open()
        try:
            names = Counter(project.name for project in await state.read(ListProjects()))
            lost = [number for number in acknowledged if names[f"n{number}"] != 1]
            assert lost == [], f"seed {SEED}"
            assert max(names.values()) == 1
            # asking again is a replay for what happened, whether it was acknowledged or not
            last = acknowledged[-1]
            with pytest.raises(CommandRejectedError, match="already used"):
                await state.propose(
                    ProjectCreate(project_id=ProjectId("other"), domain_id=DOMAIN, name="other"),
                    request_id=RequestId(f"req-{last}"),
                )
        finally:
            await state.close()
        first = max(max(acknowledged) + 1, *(int(name[1:]) + 1 for name in names if name[1:].isdigit()))
    assert len(acknowledged) == len(set(acknowledged))

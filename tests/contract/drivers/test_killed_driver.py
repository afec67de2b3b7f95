"""kill -9 of the driver's process in the middle of a build: the next driver finishes it or removes it."""

from __future__ import annotations

import contextlib
import pickle
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from drivers.contract import DomainSpec, Power
from tests.contract.drivers.beds import Bed, opened

DEADLINE_S = 60.0


@contextlib.contextmanager
def building(bed: Bed, spec: DomainSpec, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A driver process at work on `spec`; killed at the end at the latest."""
    spec_file = folder / "spec.pickle"
    spec_file.write_bytes(pickle.dumps(spec))
    argv = [sys.executable, "-m", "tests.contract.drivers.driver_process", str(spec_file), *bed.driver_argv()]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        assert process.stdout is not None
        process.stdout.close()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {DEADLINE_S:.0f} s"


def kill_at(bed: Bed, spec: DomainSpec, folder: Path, milestone: str) -> None:
    with building(bed, spec, folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        if milestone == "directory":
            wait_for(bed.root_disk(spec.server_id).parent.exists, "directory")
        elif milestone == "disk":
            wait_for(bed.root_disk(spec.server_id).exists, "disk")
        elif milestone == "config drive":
            wait_for((bed.directory / spec.server_id / "config.iso").exists, "config drive")
        process.kill()


@pytest.mark.parametrize("milestone", ["open", "directory", "disk", "config drive"])
async def test_the_next_driver_finishes_the_build(bed: Bed, tmp_path: Path, milestone: str) -> None:
    spec = bed.spec()
    kill_at(bed, spec, tmp_path, milestone)
    async with opened(bed.driver()) as driver:
        listed = await driver.list_domains()
        assert {state.server_id for state in listed} <= {spec.server_id}
        state = await driver.ensure_running(spec)
        assert state.power is Power.RUNNING
        assert await driver.list_domains() == (state,)
        left_over = [
            path.name for path in bed.root_disk(spec.server_id).parent.iterdir() if ".part-" in path.name
        ]
        assert left_over == []
        await driver.ensure_absent(spec.server_id)
    assert bed.traces(spec.server_id) == []


@pytest.mark.parametrize("milestone", ["directory", "disk", "config drive"])
async def test_the_next_driver_removes_the_build(bed: Bed, tmp_path: Path, milestone: str) -> None:
    spec = bed.spec()
    kill_at(bed, spec, tmp_path, milestone)
    async with opened(bed.driver()) as driver:
        await driver.ensure_absent(spec.server_id)
        assert await driver.list_domains() == ()
    assert bed.traces(spec.server_id) == []


async def test_a_guest_outlives_the_killed_driver(bed: Bed, tmp_path: Path) -> None:
    spec = bed.spec()
    with building(bed, spec, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
        word, pid = process.stdout.readline().split()
        assert word == "done"
    async with opened(bed.driver()) as driver:
        (state,) = await driver.list_domains()
        assert (state.power, state.pid) == (Power.RUNNING, int(pid))
        assert (await driver.ensure_running(spec)).pid == int(pid)

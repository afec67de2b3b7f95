"""What a machine of one's own is made of: a clock that can be set while somebody looks at it, a disk that
is full."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.chaos.beds import why_no_machines
from tests.chaos.enclosure import UNSHARE
from tests.chaos.faked_clock import FakedClock, library

ROOT = Path(__file__).resolve().parents[3]
TELL = "import sys, time\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
FILL = """
import errno, sys
from pathlib import Path
from tests.chaos.small_disk import SmallDisk

disk = SmallDisk(Path(sys.argv[1]), 8 << 20)
disk.mount()
try:
    kept = disk.directory / "kept"
    kept.write_bytes(b"kept")
    disk.fill()
    try:
        (disk.directory / "more").write_bytes(bytes(4_096))
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
    else:
        raise AssertionError("it was not full")
    disk.free()
    (disk.directory / "more").write_bytes(bytes(4_096))
    assert kept.read_bytes() == b"kept"
finally:
    disk.unmount()
print("as it should be")
"""


@pytest.mark.skipif(library() is None, reason="libfaketime is not installed")
def test_a_clock_jumps_while_its_process_runs_and_monotonic_time_goes_on(tmp_path: Path) -> None:
    clock = FakedClock(tmp_path / "clock")
    process = subprocess.Popen(
        [sys.executable, "-c", TELL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **clock.environment()},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None

        def read() -> tuple[float, float]:
            assert process.stdin is not None
            assert process.stdout is not None
            print(file=process.stdin, flush=True)
            wall, monotonic = process.stdout.readline().split()
            return float(wall) - time.time(), float(monotonic) - time.monotonic()

        assert abs(read()[0]) < 600
        for offset_s in (3_600, -3_600):
            clock.set(offset_s)
            deadline = time.monotonic() + 60
            while abs(read()[0] - offset_s) > 600:
                assert time.monotonic() < deadline, f"never {offset_s} s off"
                time.sleep(0.1)  # it looks at its file once a second
            assert abs(read()[1]) < 600
        process.stdin.close()


@pytest.mark.root
def test_a_full_disk_takes_nothing_more_and_has_room_again(tmp_path: Path) -> None:
    reason = why_no_machines()
    if reason:
        pytest.skip(reason)
    argv = [*UNSHARE, sys.executable, "-c", FILL, str(tmp_path / "disk")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.stdout == "as it should be\n", done.stderr

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from drivers.libvirt import processes

NAME = "fabric-11111111-2222-4333-8444-555555555555"


@pytest.fixture
def guest() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the command line of a guest."""
    argv = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
    process = subprocess.Popen([*argv, "-name", f"guest={NAME},debug-threads=on"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()  # its command line is its own by now
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_a_guest_is_found_in_the_process_table(guest: subprocess.Popen[bytes]) -> None:
    assert processes.guest_pids([NAME, "fabric-another"]) == {NAME: guest.pid}


def test_a_pid_file_is_believed_only_when_the_process_agrees(
    guest: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "PID_DIRECTORIES", (tmp_path,))
    (tmp_path / f"{NAME}.pid").write_text("1\n")  # stale: somebody else's by now
    assert processes.guest_pids([NAME]) == {NAME: guest.pid}
    (tmp_path / f"{NAME}.pid").write_text("not a number")
    assert processes.guest_pids([NAME]) == {NAME: guest.pid}


def test_a_dead_guest_has_no_pid(guest: subprocess.Popen[bytes]) -> None:
    guest.kill()
    guest.wait()
    assert processes.guest_pids([NAME]) == {}

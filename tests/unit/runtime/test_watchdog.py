"""A loop that does not turn is measured, explained and, when nothing else helps, ended."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from fabric.runtime.sd_notify import READY, ServiceManager
from fabric.runtime.watchdog import EXIT_STUCK, LoopWatchdog, WatchdogConfig
from tests.fixtures.mesh_nodes import until

ROOT = Path(__file__).resolve().parents[3]
QUICK = WatchdogConfig(tick_s=0.01, late_ms=100, check_s=0.02, stuck_s=0.2, deadly_s=30.0)
DEADLINE_S = 60.0


def program(body: str, *, deadly_s: float = 1.0) -> list[str]:
    """A process with a quick watchdog; `body` runs in its `main` coroutine."""
    text = f"""
        import asyncio, logging, os, signal, sys, time
        from fabric.runtime.watchdog import LoopWatchdog, WatchdogConfig
        from fabric.runtime import logs

        logs.configure("INFO", "text")
        config = WatchdogConfig(tick_s=0.01, check_s=0.02, stuck_s=0.2, deadly_s={deadly_s})

        def hang_here(seconds):
            time.sleep(seconds)

        async def main():
            dog = LoopWatchdog(config)
            dog.start()
            await asyncio.sleep(0.1)
        """
    return [
        sys.executable,
        "-c",
        textwrap.dedent(text) + textwrap.indent(textwrap.dedent(body), "    ") + "\nasyncio.run(main())\n",
    ]


def run(argv: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_a_process_whose_loop_hangs_is_ended_and_says_where() -> None:
    done = run(program("hang_here(600)"))
    assert done.returncode == EXIT_STUCK
    assert "event loop stuck seconds=" in done.stderr
    assert "event loop stuck, the process ends" in done.stderr
    assert "stack=hang_here (" in done.stderr


def test_a_hang_while_the_log_is_held_ends_too() -> None:
    body = """
        lock = logging.getLogger().handlers[0].lock
        lock.acquire()
        hang_here(600)
        """
    done = run(program(body, deadly_s=0.4))
    assert done.returncode == EXIT_STUCK


def test_a_process_that_was_stopped_is_not_punished_when_it_goes_on() -> None:
    """SIGSTOP, a suspended machine: no time passed for the process itself, though the clock went on."""
    process = subprocess.Popen(
        program("print('ready', flush=True)\nawait asyncio.sleep(5)\nprint('done')", deadly_s=1.5),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGSTOP)
        time.sleep(3.0)  # twice what is deadly
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, err
        assert out == "done\n"
    finally:
        process.kill()
        process.wait()


async def test_a_stall_is_measured_counted_and_explained(caplog: pytest.LogCaptureFixture) -> None:
    dog = LoopWatchdog(QUICK)
    dog.start()
    try:
        with caplog.at_level(logging.WARNING):
            await until(lambda: dog._ticks > 2)
            time.sleep(0.6)  # this is the fault under test
            await until(lambda: dog.lag.stalls >= 1)
        assert dog.lag.max_ms >= 500
        assert dog.lag.stuck == 1
        said = {record.getMessage() for record in caplog.records}
        assert {"event loop stuck", "event loop was late"} <= said
    finally:
        dog.close()
        dog.close()


async def test_a_loop_that_turns_is_left_alone() -> None:
    ended: list[int] = []
    dog = LoopWatchdog(WatchdogConfig(tick_s=0.01, check_s=0.02), end=ended.append)
    dog.start()
    for _ in range(50):
        await asyncio.sleep(0.01)
    dog.close()
    assert dog.lag.stuck == 0
    assert ended == []


def listening(address: str) -> socket.socket:
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind("\0" + address[1:] if address.startswith("@") else address)
    heard.settimeout(DEADLINE_S)
    return heard


@pytest.mark.parametrize("is_abstract", [False, True])
def test_the_service_manager_is_told(tmp_path: Path, is_abstract: bool) -> None:
    address = f"@fabric-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    with listening(address) as heard:
        ServiceManager({"NOTIFY_SOCKET": address}).tell(READY)
        assert heard.recv(100) == b"READY=1"


def test_without_a_service_manager_nothing_is_told(tmp_path: Path) -> None:
    ServiceManager({}).tell(READY)
    ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).tell(READY)


@pytest.mark.parametrize(
    ("environ", "expected_s"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "75000000"}, 75.0),
        ({"WATCHDOG_USEC": "75000000", "WATCHDOG_PID": str(os.getpid())}, 75.0),
        ({"WATCHDOG_USEC": "75000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
    ],
)
def test_how_often_the_service_manager_wants_to_hear(
    environ: dict[str, str], expected_s: float | None
) -> None:
    assert ServiceManager(environ).watchdog_s == expected_s


async def test_the_service_manager_hears_only_from_a_loop_that_turns(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with listening(address) as heard:
        manager = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "80000"})
        dog = LoopWatchdog(QUICK, manager)
        dog.start()
        try:
            for _ in range(3):
                assert await asyncio.to_thread(heard.recv, 100) == b"WATCHDOG=1"
            heard.setblocking(False)
            while True:  # what was told until now
                try:
                    heard.recv(100)
                except BlockingIOError:
                    break
            time.sleep(0.4)  # the loop hangs: five words are missed
            with pytest.raises(BlockingIOError):
                heard.recv(100)
            heard.settimeout(DEADLINE_S)
            assert await asyncio.to_thread(heard.recv, 100) == b"WATCHDOG=1"
        finally:
            dog.close()


def test_nonsense_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="stuck_s"):
        WatchdogConfig(stuck_s=0.1)

"""Where a development fabric's agents live: on loopback, or each in a simulated host of its own."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fabric.dev.hosts import SimulatedHosts
from fabric.errors import FabricError, Outcome

LOOPBACK = "127.0.0.1"
STEP_TIMEOUT_S = 120


class StepFailedError(FabricError):
    """A command of the set-up failed; the message holds its last words."""

    code = "fabric.dev.step"
    outcome = Outcome.UNKNOWN


class DevRefusedError(FabricError):
    """What was asked cannot be done to this fabric as it is; nothing was changed."""

    code = "fabric.dev.refused"
    outcome = Outcome.NOT_DONE


class AgentEndedError(FabricError):
    """An agent that was started ended by itself; the message has its last words."""

    code = "fabric.dev.agent_ended"
    outcome = Outcome.NOT_DONE


class Place(Protocol):
    def prepare(self, names: Sequence[str]) -> None: ...

    def address(self, name: str) -> str:
        """What peers reach the node's mesh at."""
        ...

    def command(self, name: str, argv: Sequence[str]) -> list[str]:
        """`argv` as it must be run from here to run there."""
        ...

    def spawn(self, name: str, argv: Sequence[str], *, log: Path, pass_fds: Sequence[int]) -> int:
        """Starts a process there that outlives us. Returns its pid as seen from here."""
        ...

    def down(self) -> None: ...


class LoopbackPlace:
    """All agents beside each other on this machine: for the sim driver; needs no rights."""

    def prepare(self, names: Sequence[str]) -> None:
        return

    def address(self, name: str) -> str:
        return LOOPBACK

    def command(self, name: str, argv: Sequence[str]) -> list[str]:
        return list(argv)

    def spawn(self, name: str, argv: Sequence[str], *, log: Path, pass_fds: Sequence[int]) -> int:
        with log.open("ab") as out:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=tuple(pass_fds),
                env=_environment(),
            )
        return process.pid

    def down(self) -> None:
        return


class HostsPlace:
    """Each agent in a simulated host: own network, mounts, host name, libvirtd. Needs root."""

    def __init__(self, directory: Path) -> None:
        self._hosts = SimulatedHosts(directory)
        self._order: list[str] = []

    def prepare(self, names: Sequence[str]) -> None:
        self._order = list(names)
        self._hosts.up(names)

    def address(self, name: str) -> str:
        return self._hosts.address(name)

    def command(self, name: str, argv: Sequence[str]) -> list[str]:
        return self._hosts.command(name, argv)

    def spawn(self, name: str, argv: Sequence[str], *, log: Path, pass_fds: Sequence[int]) -> int:
        return self._hosts.spawn_in(name, argv, log=log, env=_environment(), pass_fds=pass_fds)

    def down(self) -> None:
        self._hosts.down()


def run(argv: Sequence[str], *, stdin: str = "", timeout_s: float = STEP_TIMEOUT_S) -> str:
    """Runs to the end and returns stdout. Raises StepFailedError with what it said."""
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=_environment()
        )
    except subprocess.TimeoutExpired as error:
        raise StepFailedError(f"{Path(argv[0]).name}: no end within {timeout_s:.0f} s") from error
    except OSError as error:
        raise StepFailedError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        raise StepFailedError(f"exit {done.returncode}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def stop(pids: Sequence[int], *, grace_s: float) -> None:
    """SIGTERM, then SIGKILL for those still there after `grace_s`. Ours only: the caller checked."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    left = [pid for pid in pids if not has_ended(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if not has_ended(pid)]
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [pid for pid in left if not has_ended(pid)]


_given: set[int] = set()


def free_port() -> int:
    """A TCP port nobody listens on, below the range that outgoing connections draw from. Never the same one
    twice in a process: who got it may not listen on it yet."""
    for _ in range(200):
        port = random.randrange(12_000, 32_000)  # noqa: S311  # not a secret
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            _given.add(port)
            return port
    raise StepFailedError("no free TCP port between 12000 and 32000 on loopback")


def has_ended(pid: int) -> bool:
    """Whether the process is over. Surer than its command line, which is empty for a moment after exec."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # when it is our own child, do not leave a zombie
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return True
    return state == "Z"


def _environment() -> Mapping[str, str]:
    """Ours without what would steer the agent: its configuration file alone counts."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")}

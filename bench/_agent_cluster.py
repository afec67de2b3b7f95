"""Whole agents (`fabric agent`, without guests), founded and joined by the commands a user types.

What an agent knows is its log's "member changed" lines; level DEBUG, for at INFO it says nothing of members
it hears of for the first time. It takes part as soon as it starts, so there is no moment between being up and
joining to measure from.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench._cluster import Cluster
from bench._knowledge import Fact, Heard, Kind
from bench._mesh_agent import KIND_OF
from bench._mesh_identities import machine_of, name_of
from bench._star import DIE_WITH_PARENT, Star
from fabric.core.membership.model import MemberState
from fabric.runtime.local_socket import LocalClient

COMMAND_TIMEOUT_S = 120
JOINS_AT_ONCE = 2  # each is a Python of its own
READY, CHANGED = b'"message": "agent ready"', b'"message": "member changed"'
CONFIG = """
[node]
name = "{name}"
state_dir = "{directory}"
host = false
[voters]
in_process = true
[mesh]
address = "{address}"
[api]
listen = "127.0.0.1"
[log]
level = "DEBUG"
"""


def parse(observer: int, line: bytes, arrived_ns: int) -> Heard | None:
    if READY in line:
        return Heard(Fact(observer, Kind.UP), arrived_ns)
    if CHANGED not in line:
        return None
    fields = json.loads(line)
    kind = KIND_OF[MemberState(fields["state"])]
    fact = Fact(observer, kind, str(machine_of(fields["node"])))
    return Heard(fact, arrived_ns, fields["state"])


class AgentCluster(Cluster):
    name = "agent"
    can_publish = False
    joins_by_itself = True

    def __init__(self, star: Star, size: int, folder: Path) -> None:
        super().__init__(star, size, Path(tempfile.mkdtemp(dir=folder)))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for machine in self.machines:
            self._config(machine).write_text(
                CONFIG.format(
                    name=name_of(machine), directory=self.directory(machine), address=star.address(machine)
                )
            )

    def directory(self, machine: int) -> Path:
        return self.folder / name_of(machine)

    def local(self, machine: int) -> LocalClient:
        """The agent's own local socket."""
        return LocalClient(self.directory(machine), read_timeout_s=30.0)  # hundreds share this machine

    def found(self) -> None:
        """A fabric of machine 0, which runs; the others are admitted and do not run yet."""
        self.fabric(0, "init")
        self.start([0])
        made = self.local(0).post("/token", {"ttl_s": 3_600, "uses": self.size})
        for at in range(1, self.size, JOINS_AT_ONCE):
            joins = [
                self._begin(machine, "join", made["token"])
                for machine in range(at, min(at + JOINS_AT_ONCE, self.size))
            ]
            for join in joins:
                _end(join)

    def begin(self) -> None:
        self.found()
        self.start(self.machines[1:])
        self.settle()

    def fabric(self, machine: int, *argv: str) -> str:
        """What a command of ours prints there."""
        return _end(self._begin(machine, *argv))

    def spawn(self, machines: Sequence[int]) -> None:
        for machine in machines:
            process = subprocess.Popen(
                [*self._command(machine), "agent", "--config", str(self._config(machine))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=_environment(),
            )
            assert process.stderr is not None
            self._processes[machine] = process
            self.pids[machine] = process.pid
            self.knowledge.follow(process.stderr.fileno(), machine, parse)

    def join(self, machines: Sequence[int]) -> None:
        """They have, by starting."""

    def publish(self, machine: int, token: str, size: int) -> None:
        raise NotImplementedError("an agent says what it has to say, and nothing on order")

    def end(self, machine: int) -> None:
        process = self._processes.pop(machine)
        assert process.stderr is not None
        process.wait()
        self.knowledge.unfollow(process.stderr.fileno())
        process.stderr.close()

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _config(self, machine: int) -> Path:
        return self.folder / f"{name_of(machine)}.toml"

    def _command(self, machine: int) -> list[str]:
        return [*self.star.enter(machine), *DIE_WITH_PARENT, sys.executable, "-m", "fabric.cli.main"]

    def _begin(self, machine: int, *argv: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._command(machine), argv[0], "--config", str(self._config(machine)), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=_environment(),
        )


def _end(command: subprocess.Popen[str]) -> str:
    out, err = command.communicate(timeout=COMMAND_TIMEOUT_S)
    if command.returncode != 0:
        raise RuntimeError(f"{command.args!r}: exit {command.returncode}: {err or out}")
    return out


def _environment() -> Mapping[str, str]:
    """Ours without what would steer the agent: its configuration file alone counts."""
    root = str(Path(__file__).resolve().parents[1])
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FABRIC_")}
    return kept | {"PYTHONPATH": root}

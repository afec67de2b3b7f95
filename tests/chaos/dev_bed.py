"""What `fabric dev up` makes: all agents on loopback, which needs no rights. Nobody starts one again by
itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fabric.dev.layout import DevNode
from fabric.dev.up import PASSWORD_FILE, DevFabric, DevOptions, last_line

NODES = 5
END_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 180
LOOK_S = 0.05


class DevBed:
    """Implements `Bed`."""

    faults = None

    def __init__(
        self,
        directory: Path,
        say: Callable[[str], None],
        *,
        nodes: int = NODES,
        state_url: str = "",
        in_process: bool = False,
    ) -> None:
        self._directory = directory
        self._fabric = DevFabric(directory, say)
        self._state_url = state_url
        self._in_process = in_process
        self._down: set[str] = set()
        self.urls: Sequence[str] = ()
        self.names: Sequence[str] = tuple(f"h{number + 1}" for number in range(nodes))

    def up(self) -> None:
        options = DevOptions(
            directory=self._directory,
            nodes=len(self.names),
            driver="sim",
            state_url=self._state_url,
            voters_in_process=self._in_process,
        )
        self.urls = self._fabric.up(options).api_urls

    def down(self) -> None:
        self._fabric.down()

    def pid(self, name: str) -> int | None:
        node = self._node(name)
        return node.pid if node.is_running() else None

    def state_dir(self, name: str) -> Path:
        return self._node(name).dir

    def log(self, name: str) -> Path:
        return self._node(name).log

    def kill(self, names: Sequence[str], number: int) -> None:
        nodes = [self._node(name) for name in names]
        self._down.update(names)
        for node in nodes:
            os.kill(node.pid, number)
        deadline = time.monotonic() + END_TIMEOUT_S
        while any(node.is_running() for node in nodes):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{', '.join(names)}: no end after {signal.Signals(number).name}")
            time.sleep(LOOK_S)

    def start(self, name: str) -> None:
        self._fabric.start(name)
        self._down.discard(name)

    def command(self, name: str, argv: Sequence[str]) -> str:
        command = [
            sys.executable,
            "-m",
            "fabric.cli.main",
            *argv,
            "--dir",
            str(self._directory),
            "--node",
            name,
        ]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_TIMEOUT_S
        )
        if done.returncode != 0:
            raise subprocess.CalledProcessError(done.returncode, command, done.stdout)
        return done.stdout

    def ended(self) -> Sequence[str]:
        gone = [name for name in self.names if name not in self._down and self.pid(name) is None]
        return tuple(f"{name}: {last_line(self._node(name).log)}" for name in gone)

    def password(self) -> str:
        return (self._directory / PASSWORD_FILE).read_text()

    def _node(self, name: str) -> DevNode:
        return next(node for node in self._fabric.layout().nodes if node.name == name)

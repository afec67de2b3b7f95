"""Who kills agents: any two of the voters at a time, the leader more often than not."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from random import Random
from typing import Any

from fabric.dev.layout import DevNode
from fabric.dev.up import DevFabric
from fabric.errors import FabricError
from fabric.runtime.local_socket import LocalClient

PATIENCE_S = 180.0
LOOK_S = 0.2


class Nemesis:
    def __init__(self, fabric: DevFabric, rng: Random, say: Callable[[str], None]) -> None:
        self._fabric = fabric
        self._rng = rng
        self._say = say

    def wait_for_voters(self, count: int) -> None:
        """Until that many vote and all of them are there and up to date. Raises TimeoutError."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            rows = self.voters()
            voting = [row for row in rows if row["role"] in ("leader", "voter")]
            if len(voting) == count and all(_is_well(row) for row in voting):
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"not {count} voters within {PATIENCE_S:.0f} s: {rows}")
            time.sleep(LOOK_S)

    def voters(self) -> list[dict[str, Any]]:
        """As the leader sees them; none while nobody can tell."""
        for node in self._running():
            try:
                found = LocalClient(node.dir, read_timeout_s=5.0).get("/voters")
            except (FabricError, OSError):
                continue
            if found["seen_from"] == "leader":
                rows: list[dict[str, Any]] = found["voters"]
                return rows
        return []

    def kill(self, count: int) -> list[str]:
        """Kills agents at once, with SIGKILL; the leader is among them two times of three."""
        rows = [row for row in self.voters() if row["role"] in ("leader", "voter")]
        leader = [row["node"] for row in rows if row["role"] == "leader"]
        others = [row["node"] for row in rows if row["role"] != "leader"]
        self._rng.shuffle(others)
        victims = (leader + others if self._rng.random() < 2 / 3 else others)[:count]
        running = {node.name: node for node in self._running()}
        for name in victims:
            os.kill(running[name].pid, signal.SIGKILL)
        self._say(f"killed {', '.join(victims)}{' (leader first)' if victims[:1] == leader else ''}")
        return victims

    def revive(self, names: list[str]) -> None:
        for name in names:
            self._fabric.start(name)

    def stop_in_turn(self) -> None:
        """A rolling restart: each agent is told to stop, and started again when it has."""
        for node in self._running():
            os.kill(node.pid, signal.SIGTERM)
            deadline = time.monotonic() + PATIENCE_S
            while node.is_running() and time.monotonic() < deadline:
                time.sleep(LOOK_S)
            self._fabric.start(node.name)

    def _running(self) -> list[DevNode]:
        return [node for node in self._fabric.layout().nodes if node.is_running()]


def _is_well(row: dict[str, Any]) -> bool:
    return row["state"] == "alive" and row["lag"] is not None and row["lag"] < 50 and row["silent_s"] < 2

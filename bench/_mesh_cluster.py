"""Our agents' mesh part, one process a machine: forked from one parent, or started one by one."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench._cluster import Cluster
from bench._knowledge import Fact, Heard, Kind
from bench._mesh_agent import Report
from bench._mesh_identities import make_identities
from bench._star import DIE_WITH_PARENT, Star

ROOT = Path(__file__).resolve().parents[1]
REPORT_TIMEOUT_S = 30.0
CHANNEL_BYTES = 1 << 20


def parse(observer: int, line: bytes, arrived_ns: int) -> Heard | None:
    stamp, kind, detail, subject = line.decode().split(" ", 3)
    return Heard(Fact(observer, Kind(kind), subject), int(stamp), detail)


class MeshCluster(Cluster):
    name = "fabric"

    def __init__(
        self,
        star: Star,
        size: int,
        folder: Path,
        *,
        is_forked: bool = True,
        settings: Mapping[str, int] | None = None,
    ) -> None:
        """`settings` of membership, where they differ from the defaults. Not forked: each its own
        interpreter, so that memory is what a real agent's is."""
        super().__init__(star, size, Path(tempfile.mkdtemp(dir=folder)))
        self._settings = dict(settings or {})
        self._identities = make_identities(self.folder / "nodes", [star.address(m) for m in self.machines])
        self._channels: dict[int, socket.socket] = {}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._forker = _Forker() if is_forked else None

    def spawn(self, machines: Sequence[int]) -> None:
        for machine in machines:
            ours, theirs = socket.socketpair()
            with theirs:
                for end in (ours, theirs):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, CHANNEL_BYTES)
                self.pids[machine] = self._spawn(machine, theirs)
            self._channels[machine] = ours
            self.knowledge.follow(ours.fileno(), machine, parse)

    def _spawn(self, machine: int, channel: socket.socket) -> int:
        directory, address = self._identities.directory(machine), self.star.address(machine)
        if self._forker is not None:
            order = {"directory": str(directory), "address": address, "settings": self._settings}
            return self._forker.fork(order, channel, self.star.namespace(machine))
        process = subprocess.Popen(
            [
                *self.star.enter(machine),
                *DIE_WITH_PARENT,
                sys.executable,
                "-m",
                "bench._mesh_agent",
                str(directory),
                address,
                json.dumps(self._settings),
            ],
            stdin=channel.fileno(),
            cwd=ROOT,
            start_new_session=True,
        )
        self._processes[machine] = process
        return process.pid

    def join(self, machines: Sequence[int]) -> None:
        """Those never admitted before are now, all in one go, when machine 0 starts for the first time."""
        is_first = 0 in machines and not (self._identities.directory(0) / "peers").exists()
        for machine in machines:
            self.order(machine, "go")
        if is_first:
            self.order(0, f"admit {self._identities.admitted}")

    def publish(self, machine: int, token: str, size: int) -> None:
        self.order(machine, f"publish {token} {size}")

    def order(self, machine: int, words: str) -> None:
        channel = self._channels[machine]
        channel.setblocking(True)  # one file description: the reader's setting is ours, too
        channel.sendall(f"{words}\n".encode())
        channel.setblocking(False)

    def reports(self) -> dict[int, Report]:
        """What each agent counted, by its own books."""
        self.knowledge.reports.clear()
        for machine in self.running:
            self.order(machine, "report")
        for _ in range(int(REPORT_TIMEOUT_S / 0.2)):
            if len(self.knowledge.reports) == len(self.pids):
                break
            self.knowledge.listen(0.2)
        return {machine: Report.read(text) for machine, text in self.knowledge.reports.items()}

    def end(self, machine: int) -> None:
        channel = self._channels.pop(machine)
        self.knowledge.unfollow(channel.fileno())
        channel.close()
        process = self._processes.pop(machine, None)
        if process is not None:
            process.wait()

    def close(self) -> None:
        super().close()
        if self._forker is not None:
            self._forker.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class _Forker:
    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, sys.executable, "-m", "bench._mesh_fork"],
                stdin=theirs.fileno(),
                cwd=ROOT,
                start_new_session=True,
            )

    def fork(self, order: Mapping[str, object], channel: socket.socket, namespace: Path) -> int:
        there = os.open(namespace, os.O_RDONLY)
        try:
            socket.send_fds(self._orders, [json.dumps(order).encode()], [channel.fileno(), there])
        finally:
            os.close(there)
        answer = self._orders.recv(64)
        if not answer:
            raise RuntimeError("the fork server ended")
        return int(answer)

    def close(self) -> None:
        self._orders.close()
        self._process.wait()

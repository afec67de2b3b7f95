"""Serf's agents (the Debian package), profile lan, traffic encrypted as ours is.

What an agent knows is told by its own log: level debug shows each event as the agent gets it. Orders go over
Serf's RPC, one connection an agent made beforehand, so that no command line program competes for the
processor while the clock runs.
"""

from __future__ import annotations

import base64
import ctypes
import os
import re
import secrets
import shutil
import socket
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack

from bench._cluster import Cluster
from bench._knowledge import Fact, Heard, Kind
from bench._star import DIE_WITH_PARENT, Star

RPC_PORT, GOSSIP_PORT = 7373, 7946
RPC_TIMEOUT_S = 30.0
EVENT_BYTES_MAX = 460  # Serf takes 512 with its own header and the name
CLONE_NEWNET = 0x4000_0000
NAME = re.compile(rb"n(\d+)")
MARKS = (  # part of a line -> what it says of the node named next
    (b"serf: EventMemberJoin: ", Kind.ALIVE),
    (b"serf: EventMemberFailed: ", Kind.DOWN),
    (b"serf: EventMemberLeave: ", Kind.GONE),
)
USER_EVENT = b"agent: Received event: user-event: "
RUNNING = b"Serf agent running!"

_libc = ctypes.CDLL(None, use_errno=True)


def is_installed() -> bool:
    return shutil.which("serf") is not None


def version() -> str:
    done = subprocess.run(["serf", "version"], capture_output=True, text=True)
    package = subprocess.run(["dpkg-query", "-W", "-f=${Version}", "serf"], capture_output=True, text=True)
    return f"{done.stdout.split()[0]} (Debian {package.stdout or 'package unknown'})"


def parse(observer: int, line: bytes, arrived_ns: int) -> Heard | None:
    if USER_EVENT in line:
        return Heard(Fact(observer, Kind.RECORD, line.partition(USER_EVENT)[2].strip().decode()), arrived_ns)
    for mark, kind in MARKS:
        if mark in line:
            named = NAME.match(line.partition(mark)[2])
            assert named is not None, line
            return Heard(Fact(observer, kind, named[1].decode()), arrived_ns)
    if RUNNING in line:
        return Heard(Fact(observer, Kind.UP), arrived_ns)
    return None


class SerfCluster(Cluster):
    name = "serf"

    def __init__(self, star: Star, size: int, folder: Path) -> None:
        super().__init__(star, size, folder)
        self._key = base64.b64encode(secrets.token_bytes(32)).decode()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._orders: dict[int, _Rpc] = {}

    def spawn(self, machines: Sequence[int]) -> None:
        for machine in machines:
            process = subprocess.Popen(
                [
                    *self.star.enter(machine),
                    *DIE_WITH_PARENT,
                    "serf",
                    "agent",
                    f"-node=n{machine}",
                    f"-bind={self.star.address(machine)}:{GOSSIP_PORT}",
                    f"-rpc-addr=127.0.0.1:{RPC_PORT}",
                    "-profile=lan",
                    "-log-level=debug",
                    f"-encrypt={self._key}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            assert process.stdout is not None
            self._processes[machine] = process
            self.pids[machine] = process.pid
            self.knowledge.follow(process.stdout.fileno(), machine, parse)

    def start(self, machines: Sequence[int]) -> None:
        super().start(machines)
        for machine in machines:
            self._orders[machine] = _Rpc(self.star.namespace(machine))

    def join(self, machines: Sequence[int]) -> None:
        for machine in machines:
            there = next((m for m in self.running if m not in machines), 0)
            if machine != there:
                address = f"{self.star.address(there)}:{GOSSIP_PORT}"
                self._orders[machine].order("join", {"Existing": [address], "Replay": False})

    def publish(self, machine: int, token: str, size: int) -> None:
        payload = secrets.token_bytes(min(size, EVENT_BYTES_MAX))
        self._orders[machine].order("event", {"Name": token, "Payload": payload, "Coalesce": False})

    def end(self, machine: int) -> None:
        process = self._processes.pop(machine)
        assert process.stdout is not None
        process.wait()
        self.knowledge.unfollow(process.stdout.fileno())
        process.stdout.close()
        rpc = self._orders.pop(machine, None)
        if rpc is not None:
            rpc.close()


class _Rpc:
    """One connection to an agent's RPC. Answers are read to keep the pipe clear, and not looked at."""

    def __init__(self, namespace: Path) -> None:
        self._socket = _connect_inside(namespace, ("127.0.0.1", RPC_PORT))
        self._socket.settimeout(None)  # with a time-out, Python would wait before a MSG_DONTWAIT
        self._sequence = 0
        self.order("handshake", {"Version": 1})

    def order(self, command: str, body: dict[str, Any]) -> None:
        with suppress(BlockingIOError):
            while self._socket.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        self._sequence += 1
        header = {"Command": command, "Seq": self._sequence}
        # Serf's decoder is of msgpack's older kind: text and bytes are one
        self._socket.sendall(b"".join(msgpack.packb(part, use_bin_type=False) for part in (header, body)))

    def close(self) -> None:
        self._socket.close()


def _connect_inside(namespace: Path, address: tuple[str, int]) -> socket.socket:
    """A socket belongs to the network namespace its maker was in, so this thread goes there and back."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(namespace, os.O_RDONLY)
    try:
        _enter(there)
        try:
            return socket.create_connection(address, timeout=RPC_TIMEOUT_S)
        finally:
            _enter(home)
    finally:
        os.close(home)
        os.close(there)


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

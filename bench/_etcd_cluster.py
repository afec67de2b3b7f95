"""Three etcds of Debian's package on loopback, each in its own directory, asked through their JSON gateway
(gRPC needs a client library that we have no other use for) over kept-alive HTTP. etcd's client is therefore a
Python process that makes JSON: its share of a processor is told beside the rates."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from bench._log_load import PUT_BYTES
from bench._voter_cluster import DIE_WITH_PARENT, LOOK_S, PATIENCE_S

ASK_AGAIN_S = 0.05
VALUE = base64.b64encode(b"x" * PUT_BYTES).decode()


def why_not() -> str | None:
    """Why etcd cannot be run here; None: it can."""
    return None if shutil.which("etcd") else "etcd is not installed (WITH_BENCH=1 ./.ci/setup.sh)"


def version() -> str | None:
    if why_not() is not None:
        return None
    said = subprocess.run(["etcd", "--version"], capture_output=True, text=True).stdout
    return said.partition("\n")[0].removeprefix("etcd Version: ")


class EtcdCluster:
    def __init__(
        self, folder: Path, session: aiohttp.ClientSession, ports: Sequence[tuple[int, int]]
    ) -> None:
        self._folder = folder
        self._session = session
        self._ports = ports
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._key = 0

    @property
    def running(self) -> list[int]:
        return sorted(self._processes)

    def pid(self, member: int) -> int:
        return self._processes[member].pid

    def start(self, member: int) -> None:
        client, peer = self._ports[member]
        members = ",".join(f"m{n}=http://127.0.0.1:{port}" for n, (_, port) in enumerate(self._ports))
        with (self._folder / f"m{member}.log").open("ab") as log:
            self._processes[member] = subprocess.Popen(
                [
                    *DIE_WITH_PARENT,
                    "etcd",
                    f"--name=m{member}",
                    f"--data-dir={self._folder / f'm{member}'}",
                    f"--listen-client-urls=http://127.0.0.1:{client}",
                    f"--advertise-client-urls=http://127.0.0.1:{client}",
                    f"--listen-peer-urls=http://127.0.0.1:{peer}",
                    f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
                    f"--initial-cluster={members}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    async def _ask(self, member: int, path: str, body: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._ports[member][0]}/v3/{path}"
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        async with self._session.post(url, data=json.dumps(body), timeout=timeout) as response:
            said: dict[str, Any] = await response.json(content_type=None)
            if response.status != 200:
                raise aiohttp.ClientError(str(said)[:200])
            return said

    async def put(self, member: int, timeout_s: float = PATIENCE_S) -> None:
        """A key nobody put before. Raises aiohttp.ClientError, OSError, TimeoutError."""
        self._key += 1
        key = base64.b64encode(f"key-{self._key}".encode()).decode()
        await self._ask(member, "kv/put", {"key": key, "value": VALUE}, timeout_s)

    async def put_until_answered(self, member: int) -> float:
        """When the first of several is answered. A put that etcd holds since before it had a leader may fail
        seconds later, so another one begins each `ASK_AGAIN_S`, and nobody waits for the first."""
        puts: set[asyncio.Task[None]] = set()
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    puts.add(asyncio.create_task(self.put(member)))
                    done, puts = await asyncio.wait(
                        puts, timeout=ASK_AGAIN_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    if any(one.exception() is None for one in done):
                        return time.monotonic()
        finally:
            for one in puts:
                one.cancel()
            await asyncio.gather(*puts, return_exceptions=True)

    async def leader(self) -> int:
        """Once one of those that run leads, and they agree."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    said = [await self._ask(one, "maintenance/status", {}, 1.0) for one in self.running]
                except (aiohttp.ClientError, OSError, TimeoutError):
                    said = []
                leaders = {one.get("leader") for one in said}
                for member, one in zip(self.running, said, strict=False):
                    if leaders == {one["header"]["member_id"]}:
                        return member
                await asyncio.sleep(LOOK_S)

    async def load(self, in_flight: int, seconds: float) -> dict[str, Any]:
        """As `bench._log_load.load`, at the leader."""
        leader = await self.leader()
        until = time.perf_counter() + seconds
        waits: list[float] = []

        async def client() -> None:
            while time.perf_counter() < until:
                began = time.perf_counter()
                await self.put(leader)
                waits.append(time.perf_counter() - began)

        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(client())
        took = time.perf_counter() - began
        return {"took_s": took, "waits": waits, "client_cpu": (time.process_time() - cpu) / took}

    def signal(self, member: int, number: signal.Signals) -> None:
        os.kill(self.pid(member), number)

    def end(self, member: int) -> None:
        process = self._processes.pop(member)
        process.kill()
        process.wait()


@asynccontextmanager
async def etcd_cluster(folder: Path) -> AsyncIterator[EtcdCluster]:
    """With a leader. Everything ends with the block, also after a failure."""
    folder.mkdir(parents=True)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        cluster = EtcdCluster(folder, session, _free_ports(3))
        try:
            for member in range(3):
                cluster.start(member)
            await cluster.leader()
            yield cluster
        finally:
            for member in cluster.running:
                cluster.end(member)


def _free_ports(members: int) -> list[tuple[int, int]]:
    """etcd must know all ports before it starts: these were free a moment ago."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2 * members)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return list(zip(ports[:members], ports[members:], strict=True))

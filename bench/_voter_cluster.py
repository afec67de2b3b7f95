"""A group of voters, each a process in a directory of its own, on loopback. All end with this process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from bench._processors import cpu_s
from fabric.mesh.curve import new_curve_key_pair

DIE_WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
LINE_BYTES_MAX = 64 << 20
PATIENCE_S = 120.0
LOOK_S = 0.005


class VoterProcess:
    """`node_id`, `voter` and `endpoint` are known from the first start on, and stay through deaths."""

    def __init__(self, directory: Path, *, log_only: bool, compact_entries: int | None) -> None:
        keys = new_curve_key_pair()
        self.public = keys.public.hex()
        self._settings: dict[str, Any] = {
            "directory": str(directory),
            "public": self.public,
            "secret": keys.secret.hex(),
            "bind": "tcp://127.0.0.1:0",
            "log_only": log_only,
            "compact_entries": compact_entries,
        }
        self.node_id = self.voter = self.endpoint = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._number = 0
        self._writer: asyncio.StreamWriter | None = None
        self._hearing: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        """The process is there and its mesh listens; it has no voter yet."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, sys.executable, "-m", "bench._voter", json.dumps(self._settings)],
                stdin=theirs.fileno(),
                cwd=Path(__file__).parents[1],
                start_new_session=True,
            )
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=LINE_BYTES_MAX)
        self._hearing = asyncio.create_task(self._hear(reader))
        said = await self.order("start")
        self.node_id, self.voter, self.endpoint = said["node_id"], said["voter"], said["endpoint"]
        self._settings["bind"] = self.endpoint

    async def order(self, name: str, **arguments: Any) -> Any:
        """Raises RuntimeError: it failed, or the process died meanwhile."""
        assert self._writer is not None
        self._number += 1
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._answers[self._number] = answer
        order = {"number": self._number, "name": name, "arguments": arguments}
        self._writer.write(json.dumps(order).encode() + b"\n")
        return await answer

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionResetError):
            while line := await reader.readline():
                said = json.loads(line)
                answer = self._answers.pop(said["number"])
                if "error" in said:
                    answer.set_exception(RuntimeError(said["error"]))
                else:
                    answer.set_result(said["answer"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(RuntimeError("the voter's process ended"))
        self._answers.clear()

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    async def end(self) -> None:
        """Reaps it. Twice is the same as once."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        await asyncio.to_thread(process.wait)
        assert self._writer is not None
        assert self._hearing is not None
        await self._hearing
        self._writer.close()


class VoterCluster:
    def __init__(self, folder: Path, *, log_only: bool, compact_entries: int | None) -> None:
        self._folder = folder
        self._log_only = log_only
        self._compact_entries = compact_entries
        self.voters: list[VoterProcess] = []

    async def add(self) -> VoterProcess:
        """A process with a mesh that knows all others, and they it; without a voter."""
        newcomer = VoterProcess(
            self._folder / f"v{len(self.voters)}",
            log_only=self._log_only,
            compact_entries=self._compact_entries,
        )
        self.voters.append(newcomer)
        await newcomer.start()
        for voter in self.running:
            await self._introduce(voter)
        return newcomer

    async def _introduce(self, voter: VoterProcess) -> None:
        nodes = {other.node_id: (other.endpoint, other.public) for other in self.voters if other.node_id}
        await voter.order("know", nodes=nodes)

    async def restart(self, voter: VoterProcess) -> float:
        """As it was, with the rows and the log that its disk holds. Returns how long its engine took to open,
        in seconds."""
        await voter.start()
        return await self.reopen(voter)

    async def reopen(self, voter: VoterProcess) -> float:
        """The second half of `restart`: all have their mesh already."""
        await self._introduce(voter)
        took: float = await voter.order("open", founders=[])
        return took

    @property
    def running(self) -> list[VoterProcess]:
        return [voter for voter in self.voters if voter.is_running]

    async def leader(self, among: Sequence[VoterProcess] = ()) -> VoterProcess:
        """Once exactly one says that it leads."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                seen = [(voter, await voter.order("status")) for voter in among or self.running]
                if failed := [status["failure"] for _, status in seen if status["failure"]]:
                    raise RuntimeError(f"a voter stopped: {failed[0]}")
                leaders = [voter for voter, status in seen if status["is_leader"]]
                if len(leaders) == 1:
                    return leaders[0]
                await asyncio.sleep(LOOK_S)

    async def level(self) -> None:
        """Until all that run hold what the leader holds now."""
        leader = await self.leader()
        index = (await leader.order("status"))["applied"]
        for voter in self.running:
            await voter.order("wait_applied", index=index)

    def footprint(self) -> Callable[[], list[dict[str, float]]]:
        """From now on until the returned is called: of each voter that lives, the leader's not told apart."""
        before = {voter.pid: cpu_s(voter.pid) for voter in self.running}

        def until_now() -> list[dict[str, float]]:
            return [
                {"cpu_s": round(cpu_s(pid) - cpu, 3), "rss_mb": rss_mb(pid)} for pid, cpu in before.items()
            ]

        return until_now

    async def close(self) -> None:
        for voter in self.voters:
            await voter.end()


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0


@asynccontextmanager
async def voter_cluster(
    folder: Path, *, count: int = 3, log_only: bool = False, compact_entries: int | None = None
) -> AsyncIterator[VoterCluster]:
    """Founded, with a leader. Everything ends with the block, also after a failure."""
    cluster = VoterCluster(folder, log_only=log_only, compact_entries=compact_entries)
    try:
        for _ in range(count):
            await cluster.add()
        founders = [voter.voter for voter in cluster.voters]
        for voter in cluster.voters:
            await voter.order("open", founders=founders)
        await cluster.leader()
        yield cluster
    finally:
        await cluster.close()

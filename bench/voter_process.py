"""Does an agent that is busy or stuck cost the log its leader?

Back of an envelope: followers wait 1 to 2 s for the leader before they stand. Beats of a voter that lives in
its agent wait for the agent's interpreter: held for 2 s and longer, every hold is an election; a busy API
holds it for tens of milliseconds at a time, which should cost none. A voter with a process of its own beats
on whatever its agent does, and answers who asks it directly.

    python bench/voter_process.py [--way in_agent own_process] [--holds 0.5 2 4 8] [--repeat 3] [--load 20]

Three whole agents on loopback, one of which writes all the time through its API. Prints one JSON object: for
each way, for each thing that was done to the leader's agent, how often the term rose, and the longest time
between two answered writes. The holds are real: a signal handler that sleeps without giving the interpreter
away.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count, pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._processors import cpu_s
from bench._spread import commit
from fabric.dev.cloud_client import CloudClient
from fabric.dev.layout import DevNode
from fabric.dev.up import PASSWORD_FILE, DevFabric, DevOptions
from fabric.errors import FabricError
from fabric.runtime.local_socket import LocalClient

NODES = 3
CLIENTS = 16
IDLE_S = 15.0
CALM_S = 5.0
WAIT_S = 120.0
WAYS = {"in_agent": True, "own_process": False}
# Python runs it at the start of every interpreter that has its directory on the path.
HOLDER = """
import ctypes, os, pathlib, signal
signal.signal(signal.SIGUSR2, lambda number, frame: ctypes.PyDLL(None).usleep(
    int(float(pathlib.Path(os.environ["BENCH_HOLD_FILE"]).read_text()) * 1e6)))
"""


class Writer(threading.Thread):
    """Makes flavors at one API, one after the other, and notes when each was answered."""

    def __init__(self, cloud: CloudClient) -> None:
        super().__init__(daemon=True)
        self._cloud = cloud
        self._ended = threading.Event()
        self.answered: list[float] = [time.monotonic()]
        self.failed = 0

    def run(self) -> None:
        for number in _NUMBERS:
            if self._ended.is_set():
                break
            name = f"f{number}"
            try:
                self._cloud.post(
                    "/compute/v2.1/flavors",
                    {"flavor": {"name": name, "id": name, "ram": 64, "vcpus": 1, "disk": 1}},
                )
                self.answered.append(time.monotonic())
            except (FabricError, OSError):
                self.failed += 1
            time.sleep(0.01)

    def end(self) -> float:
        """The longest time between two answers."""
        self._ended.set()
        self.join()
        return max(after - before for before, after in pairwise([*self.answered, time.monotonic()]))


_NUMBERS = count()


class Load:
    """Clients that log in and list, which is what keeps an API busy, at one address."""

    def __init__(self, url: str, password: str) -> None:
        self._ended = threading.Event()
        self.asked = 0
        self._threads = [threading.Thread(target=self._run, args=(url, password)) for _ in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def _run(self, url: str, password: str) -> None:
        client = CloudClient(url)
        while not self._ended.is_set():
            with suppress(FabricError, OSError):
                client.login("admin", password, "admin")
                for _ in range(5):
                    client.get("/compute/v2.1/flavors/detail")
                self.asked += 6

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()


class Trial:
    def __init__(self, fabric: DevFabric, hold_file: Path) -> None:
        self._fabric = fabric
        self._hold_file = hold_file
        self._password = (fabric.directory / PASSWORD_FILE).read_text()

    def status(self) -> dict[str, Any]:
        """As the leader sees it."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline:
            for node in self._fabric.layout().nodes:
                with suppress(FabricError, OSError):
                    found = LocalClient(node.dir, read_timeout_s=5.0).get("/voters")
                    if found["seen_from"] == "leader":
                        return dict(found)
            time.sleep(0.1)
        raise RuntimeError("nobody leads")

    def settle(self) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            rows = self.status()["voters"]
            if len(rows) == NODES and all(row["lag"] == 0 and row["role"] != "learner" for row in rows):
                return
            if time.monotonic() > deadline:
                raise RuntimeError(f"the voters do not settle: {rows}")
            time.sleep(0.2)

    def leader(self) -> DevNode:
        rows = self.status()["voters"]
        name = next(row["node"] for row in rows if row["role"] == "leader")
        return next(node for node in self._fabric.layout().nodes if node.name == name)

    def measure(self, doing: Any) -> dict[str, Any]:
        """`doing` is given the leader, and does something to its agent while another is written through."""
        self.settle()
        leader = self.leader()
        nodes = self._fabric.layout().nodes
        other = next(at for at, node in enumerate(nodes) if node.name != leader.name)
        cloud = CloudClient(self._fabric.layout().api_urls[other])
        cloud.login("admin", self._password, "admin")
        term = self.status()["term"]
        writer = Writer(cloud)
        writer.start()
        time.sleep(1.0)
        told = doing(leader) or {}
        time.sleep(1.0)
        gap = writer.end()
        after = self.status()
        return told | {
            "terms": after["term"] - term,
            "longest_gap_s": round(gap, 2),
            "writes": len(writer.answered) - 1,
            "failed": writer.failed,
        }

    def hold(self, leader: DevNode, seconds: float) -> None:
        self._hold_file.write_text(str(seconds))
        os.kill(leader.pid, signal.SIGUSR2)
        time.sleep(seconds + 1.0)

    def load(self, leader: DevNode, seconds: float) -> dict[str, Any]:
        nodes = self._fabric.layout().nodes
        at = next(at for at, node in enumerate(nodes) if node.name == leader.name)
        load = Load(self._fabric.layout().api_urls[at], self._password)
        time.sleep(seconds)
        load.end()
        return {"requests_per_s": round(load.asked / seconds, 1)}

    def idle(self) -> dict[str, Any]:
        """Processor and memory of each agent with its voter's process, where it has one."""
        pids = {node.name: [node.pid, *children(node.pid)] for node in self._fabric.layout().nodes}
        leader = self.leader().name
        time.sleep(CALM_S)
        before = {name: [cpu_s(pid) for pid in each] for name, each in pids.items()}
        time.sleep(IDLE_S)
        return {
            name + (" (leader)" if name == leader else ""): {
                "cpu_percent": [
                    round((cpu_s(pid) - was) / IDLE_S * 100, 2)
                    for pid, was in zip(each, before[name], strict=True)
                ],
                "rss_mb": [_memory_mb(pid, "VmRSS") for pid in each],
            }
            for name, each in pids.items()
        }


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _memory_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise RuntimeError(f"/proc/{pid}/status does not tell {name}")


@contextmanager
def trial(way: str) -> Iterator[Trial]:
    with tempfile.TemporaryDirectory(prefix="voter-process-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(HOLDER)
        hold_file = Path(folder) / "hold"
        os.environ["PYTHONPATH"] = f"{folder}:{Path(__file__).resolve().parents[1]}"
        os.environ["BENCH_HOLD_FILE"] = str(hold_file)
        fabric = DevFabric(Path(folder) / "dev", lambda text: None)
        try:
            fabric.up(_options(fabric.directory, way))
            yield Trial(fabric, hold_file)
        finally:
            fabric.down()


def _options(directory: Path, way: str) -> DevOptions:
    return DevOptions(directory=directory, nodes=NODES, driver="sim", voters_in_process=WAYS[way])


def measured(way: str, holds: list[float], repeat: int, load_s: float) -> dict[str, Any]:
    with trial(way) as at:
        at.settle()
        told: dict[str, Any] = {"idle": at.idle()}
        told["calm"] = at.measure(lambda leader: time.sleep(CALM_S))
        told["load"] = at.measure(lambda leader: at.load(leader, load_s))
        for seconds in holds:
            told[f"hold {seconds:g} s"] = [
                at.measure(lambda leader, seconds=seconds: at.hold(leader, seconds)) for _ in range(repeat)
            ]
        return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--way", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--holds", nargs="+", type=float, default=[0.5, 2.0, 4.0, 8.0])
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--load", type=float, default=20.0)
    options = parser.parse_args()
    told: dict[str, Any] = {
        "question": "does an agent that is busy or stuck cost the log its leader?",
        "commit": commit(),
        "machine": {"processors": os.cpu_count(), "python": platform.python_version()},
    }
    for way in options.way:
        told[way] = measured(way, options.holds, options.repeat, options.load)
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()

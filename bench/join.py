"""How soon can a joining machine be given a server?

Back of an envelope: Python and our modules take the new agent half a second of a processor; the mesh's
handshake, one record of the conductor's and one row of the log are tens of milliseconds; so is placing a
server. The bar is 1 s, p99 (M1). Nova's way is a services row, a discovery run and the next update of the
scheduler's cache, which is minutes by default.

    python bench/join.py [--agents 10] [--joins 200] [--table]

A fabric of whole agents on loopback, of which three hold the log; the driver is `sim`. Each newcomer is the
only host of an availability zone of its own, and a client asks for a server there from before it starts: the
API refuses until the host is known. `admitted`: the `fabric join TOKEN` command, start to end. `known`: from
the start of the agent's process until the request is taken. `placed`: until the server's row has that host,
which is the figure. `built`: until the server is ACTIVE there. `joined`: `admitted` + `placed`, what a person
waits who types both commands without a pause. Milliseconds. Prints one JSON object, or a table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._processors import cpu_s
from bench._spread import commit, spread_ms
from fabric import config as configuration
from fabric.dev.cloud_client import CloudAnswerError, CloudClient
from fabric.dev.places import LOOPBACK, LoopbackPlace, free_port, has_ended, stop
from fabric.dev.up import DevFabric, DevOptions
from fabric.runtime.local_socket import LocalClient
from fabric.store.files import write_private

BAR_MS = 1_000
WAIT_S = 60.0
ASK_AGAIN_S = 0.01
TOKEN_TTL_S = 24 * 3_600
STAGES = ("admitted", "known", "placed", "built", "joined")
SERVERS = "/compute/v2.1/servers"


class Newcomer:
    """A machine that is not of the fabric yet, and its own zone's only host."""

    def __init__(self, folder: Path, number: int) -> None:
        self.name = f"new{number}"
        self.config = folder / self.name / "fabric.toml"
        self.config.parent.mkdir()
        config = configuration.Config(
            node=configuration.NodeSection(
                name=self.name, state_dir=str(self.config.parent / "state"), zone=self.name
            ),
            mesh=configuration.MeshSection(address=LOOPBACK, port=free_port()),
            api=configuration.ApiSection(listen=LOOPBACK, port=free_port()),
            voters=configuration.VotersSection(eligible=False),
            compute=configuration.ComputeSection(driver="sim"),
        )
        write_private(self.config, configuration.render(config).encode())
        self.pid = 0

    def join(self, token: str) -> None:
        subprocess.run(
            [*self._fabric("join"), "-"],
            input=token,
            text=True,
            check=True,
            capture_output=True,
            timeout=WAIT_S,
        )

    def start(self) -> None:
        log = self.config.parent / "agent.log"
        self.pid = LoopbackPlace().spawn(self.name, self.agent(), log=log, pass_fds=())

    def agent(self) -> list[str]:
        """The command that starts it."""
        return self._fabric("agent")

    def end(self) -> None:
        if self.pid and not has_ended(self.pid):
            stop([self.pid], grace_s=10.0)

    def _fabric(self, command: str) -> list[str]:
        return [sys.executable, "-m", "fabric.cli.main", command, "--config", str(self.config)]


class Trial:
    """`make`: a newcomer, given the folder and a number."""

    def __init__(
        self,
        founder: LocalClient,
        cloud: CloudClient,
        folder: Path,
        make: Callable[[Path, int], Newcomer] = Newcomer,
    ) -> None:
        self._folder = folder
        self._founder = founder
        self._cloud = cloud
        self._make = make
        self._image = self._found("/image/v2/images", "images", "guest")
        self._network = self._found("/network/v2.0/networks", "networks", "private")
        self._token = ""

    def invite(self, joins: int) -> None:
        self._token = self._founder.post("/token", {"ttl_s": TOKEN_TTL_S, "uses": joins})["token"]

    def one(self, number: int) -> dict[str, float]:
        """Seconds, by stage; `processor`: of the newcomer's agent until the server was placed."""
        newcomer = self._make(self._folder, number)
        try:
            began = time.perf_counter()
            newcomer.join(self._token)
            admitted = time.perf_counter() - began
            began = time.perf_counter()
            newcomer.start()
            server = self._ask_until_taken(newcomer.name)
            known = time.perf_counter() - began
            self._until(server, lambda row: row["OS-EXT-SRV-ATTR:host"] == newcomer.name)
            placed = time.perf_counter() - began
            processor = cpu_s(newcomer.pid)
            self._until(server, lambda row: row["status"] == "ACTIVE")
            built = time.perf_counter() - began
            self._delete(server)
        finally:
            newcomer.end()
        return {
            "admitted": admitted,
            "known": known,
            "placed": placed,
            "built": built,
            "joined": admitted + placed,
            "processor": processor,
        }

    def _ask_until_taken(self, zone: str) -> str:
        wanted = {
            "name": zone,
            "flavorRef": "m1.nano",
            "imageRef": self._image,
            "networks": [{"uuid": self._network}],
            "availability_zone": zone,
        }
        deadline = time.monotonic() + WAIT_S
        while True:
            try:
                return str(self._cloud.post(SERVERS, {"server": wanted})["server"]["id"])
            except CloudAnswerError as error:
                if error.status != 400 or time.monotonic() > deadline:
                    raise
            time.sleep(ASK_AGAIN_S)

    def _until(self, server: str, is_so: Any) -> None:
        deadline = time.monotonic() + WAIT_S
        while True:
            row = self._cloud.get(f"{SERVERS}/{server}")["server"]
            if is_so(row):
                return
            if row["status"] == "ERROR" or time.monotonic() > deadline:
                raise RuntimeError(f"server {server} is {row['status']}: {row.get('fault')}")
            time.sleep(ASK_AGAIN_S)

    def _delete(self, server: str) -> None:
        self._cloud.delete(f"{SERVERS}/{server}")
        deadline = time.monotonic() + WAIT_S
        with suppress(CloudAnswerError):
            while time.monotonic() < deadline:
                self._cloud.get(f"{SERVERS}/{server}")
                time.sleep(ASK_AGAIN_S)

    def _found(self, path: str, kind: str, name: str) -> str:
        found = self._cloud.find(path, kind, name)
        assert found is not None
        return str(found["id"])


def measure(agents: int, joins: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        fabric = DevFabric(Path(folder) / "fabric", lambda text: None)
        try:
            layout = fabric.up(DevOptions(directory=fabric.directory, nodes=agents, voters=min(3, agents)))
            fabric.fill(layout)
            founder = LocalClient(layout.nodes[0].dir, read_timeout_s=WAIT_S)
            trial = Trial(founder, fabric.cloud(layout), Path(folder))
            trial.invite(joins + 1)
            trial.one(0)  # what is compiled and cached once
            runs = [trial.one(number + 1) for number in range(joins)]
        finally:
            fabric.down()
    shown = {stage: spread_ms([run[stage] for run in runs]) for stage in STAGES}
    return {**shown, "processor": spread_ms([run["processor"] for run in runs])}


def table(report: dict[str, Any]) -> str:
    lines = ["| ms | p50 | p95 | p99 | max | bar (p99) |", "|---|---|---|---|---|---|"]
    for stage in (*STAGES, "processor"):
        one = report[stage]
        bar = BAR_MS if stage == "placed" else "-"
        lines.append(f"| {stage} | {one['p50']} | {one['p95']} | {one['p99']} | {one['max']} | {bar} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--agents", type=int, default=10, help="before the newcomers, one of which is there at a time"
    )
    parser.add_argument("--joins", type=int, default=200)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an agent that is installed is compiled
    report = {
        "bench": "join",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "agents": args.agents,
        "joins": args.joins,
        **measure(args.agents, args.joins),
        "bar_ms": BAR_MS,
    }
    print(table(report) if args.table else json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

"""How long from POST /servers to ACTIVE, how many servers a second, at what memory, and how cold a start?

Back of an envelope: a create is one fsync (0.2 ms), one scheduling pass, one mesh hop, one sim boot and one
report (another fsync), so about 5 ms of work; with three agents and the clients sharing two cores a few
dozen servers a second are to be expected, bounded by CPU.

Nova 26 with RabbitMQ and MariaDB on the same kind of machine (3 fake computes): POST to ACTIVE p50 540 /
p95 640 ms one by one; 100 POSTs from 16 clients 1.0-1.5 servers/s; 2,669 MB PSS in 34 processes; 47-50 s
from cold start to the first authenticated answer.  (baselines/nova_boot.json)

    python bench/boot.py [--sequential 60] [--burst 120] [--bursts 3] [--clients 16]

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._spread import commit, rate_of, spread_ms
from fabric.dev.layout import DevLayout
from fabric.dev.up import PASSWORD_FILE

POLL_S = 0.004
ACTIVE_TIMEOUT_S = 120.0
BASELINE = Path(__file__).parent / "baselines" / "nova_boot.json"


def fabric(*argv: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "fabric.cli.main", "dev", *argv], check=True, stdout=subprocess.DEVNULL
    )


class Tenant:
    """One keep-alive session against the public API."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session, self.url = session, url

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        async with self.session.request(method, self.url + path, json=body) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status} {text[:300]}")
            return json.loads(text) if text else None

    async def login(self, password: str) -> str:
        domain = {"name": "Default"}
        user = {"name": "admin", "domain": domain, "password": password}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": "admin", "domain": domain}},
            }
        }
        async with self.session.post(self.url + "/identity/v3/auth/tokens", json=body) as answer:
            assert answer.status == 201, await answer.text()
            self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
            return str((await answer.json())["token"]["project"]["id"])

    async def boot(self, name: str, image: str, network: str) -> tuple[float, float]:
        """Seconds to the 202 and to ACTIVE."""
        server = {"name": name, "imageRef": image, "flavorRef": "m1.nano", "networks": [{"uuid": network}]}
        began = time.perf_counter()
        made = await self.call("POST", "/compute/v2.1/servers", {"server": server})
        accepted = time.perf_counter() - began
        path = f"/compute/v2.1/servers/{made['server']['id']}"
        while True:
            status = (await self.call("GET", path))["server"]["status"]
            if status == "ACTIVE":
                return accepted, time.perf_counter() - began
            if status == "ERROR" or time.perf_counter() - began > ACTIVE_TIMEOUT_S:
                raise RuntimeError(f"{name}: {status}")
            await asyncio.sleep(POLL_S)


async def measure(layout: DevLayout, password: str, args: argparse.Namespace) -> dict[str, Any]:
    timeout = aiohttp.ClientTimeout(total=ACTIVE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        tenant = Tenant(session, layout.api_urls[0])
        project = await tenant.login(password)
        free = {"quota_set": {"instances": -1, "cores": -1, "ram": -1}}
        await tenant.call("PUT", f"/compute/v2.1/os-quota-sets/{project}", free)
        await tenant.call("PUT", f"/network/v2.0/quotas/{project}", {"quota": {"port": -1}})
        image = (await tenant.call("GET", "/image/v2/images?name=guest"))["images"][0]["id"]
        network = (await tenant.call("GET", "/network/v2.0/networks?name=private"))["networks"][0]["id"]
        await tenant.boot("warm-up", image, network)
        single = [await tenant.boot(f"one-{i}", image, network) for i in range(args.sequential)]
        times: list[tuple[float, float]] = []
        rates: list[float] = []
        for number in range(args.bursts):
            names = [f"burst-{number}-{i}" for i in range(args.burst)]

            async def client(names: list[str] = names) -> None:
                while names:
                    times.append(await tenant.boot(names.pop(), image, network))

            began = time.perf_counter()
            await asyncio.gather(*(client() for _ in range(args.clients)))
            rates.append(args.burst / (time.perf_counter() - began))
        listing = []
        for _ in range(10):
            start = time.perf_counter()
            found = await tenant.call("GET", "/compute/v2.1/servers/detail")
            listing.append(time.perf_counter() - start)
        return {
            "one_by_one": {"n": len(single), "accepted_ms": spread_ms([a for a, _ in single])}
            | {"active_ms": spread_ms([b for _, b in single])},
            "burst": {
                "clients": args.clients,
                "n": len(times),
                "servers_per_s": rate_of(rates),  # one burst after another, into an ever fuller fabric
                "accepted_ms": spread_ms([a for a, _ in times]),
                "active_ms": spread_ms([b for _, b in times]),
            },
            "list_detail_ms": {"servers": len(found["servers"])} | spread_ms(listing),
        }


def memory(pids: list[int]) -> dict[str, float]:
    full = [psutil.Process(pid).memory_full_info() for pid in pids]
    return {
        "processes": len(pids),
        "rss_mb": round(sum(item.rss for item in full) / 1e6, 1),
        "pss_mb": round(sum(item.pss for item in full) / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--sequential", type=int, default=60)
    parser.add_argument("--burst", type=int, default=120)
    parser.add_argument("--bursts", type=int, default=3)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder:
        directory = Path(folder) / "dev"
        began = time.perf_counter()
        fabric("up", "--nodes", str(args.nodes), "--driver", "sim", "--dir", str(directory))
        all_up = time.perf_counter() - began
        try:
            layout = DevLayout.read(directory)
            assert layout is not None
            pids = [node.pid for node in layout.nodes]
            idle = memory(pids)
            result = asyncio.run(measure(layout, (directory / PASSWORD_FILE).read_text(), args))
            loaded = memory(pids)
            cold = cold_start(directory, layout)
        finally:
            fabric("down", "--dir", str(directory))
    report = {
        "bench": "boot",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
        "nodes": args.nodes,
        "first_up_s": round(all_up, 2),
        "cold_start_to_api_s": cold,
        "memory_idle": idle,
        "memory_after": loaded,
        **result,
        "peer_nova": json.loads(BASELINE.read_text()),
    }
    print(json.dumps(report, indent=2))


def cold_start(directory: Path, layout: DevLayout) -> dict[str, float]:
    """All agents killed, then started again: from the command to the first authenticated answer, 3 times."""
    times = []
    for _ in range(3):
        for node in layout.nodes:
            fabric("kill", node.name, "--dir", str(directory))
        began = time.perf_counter()
        fabric("start", layout.nodes[0].name, "--dir", str(directory))
        asyncio.run(first_answer(layout, (directory / PASSWORD_FILE).read_text()))
        times.append(time.perf_counter() - began)
        for node in layout.nodes[1:]:
            fabric("start", node.name, "--dir", str(directory))
    return {"median": round(statistics.median(times), 2), "max": round(max(times), 2)}


async def first_answer(layout: DevLayout, password: str) -> None:
    deadline = time.perf_counter() + ACTIVE_TIMEOUT_S
    while True:
        try:
            async with aiohttp.ClientSession() as session:
                tenant = Tenant(session, layout.api_urls[0])
                await tenant.login(password)
                await tenant.call("GET", "/compute/v2.1/servers")
                return
        except (aiohttp.ClientError, RuntimeError, AssertionError):
            if time.perf_counter() > deadline:
                raise
            await asyncio.sleep(0.02)


if __name__ == "__main__":
    main()

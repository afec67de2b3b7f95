"""What a user of a fabric does while somebody holds the watch: lists, creates, deletes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench._spread import spread_ms
from fabric.dev.cloud_client import CloudAnswerError, CloudClient

SERVERS = "/compute/v2.1/servers"
PAGE = 1_000
AT_ONCE_MAX = 100  # servers in one request
CLIENTS = 10  # of a burst
ASK_AGAIN_S = 0.01
WAIT_S = 120.0
CIDR = "10.32.0.0/16"
UNLIMITED = {"instances": -1, "cores": -1, "ram": -1}


class User:
    """The admin, with a network that has room for all servers and no quota."""

    def __init__(self, cloud: CloudClient) -> None:
        self._cloud = cloud
        self._image = self._found("/image/v2/images", "images", "guest")
        project = self._found("/identity/v3/projects", "projects", "admin")
        cloud.put(f"/compute/v2.1/os-quota-sets/{project}", {"quota_set": UNLIMITED})
        cloud.put(f"/network/v2.0/quotas/{project}", {"quota": {"port": -1}})
        body = {"network": {"name": "wide"}}
        self._network = str(cloud.post("/network/v2.0/networks", body)["network"]["id"])
        subnet = {"network_id": self._network, "cidr": CIDR, "ip_version": 4}
        cloud.post("/network/v2.0/subnets", {"subnet": subnet})

    def settle_in(self, servers: int) -> float:
        """So many more servers, asked for by the hundred; seconds until all are ACTIVE."""
        began = time.perf_counter()
        for at in range(0, servers, AT_ONCE_MAX):
            count = min(AT_ONCE_MAX, servers - at)
            wanted = self._wanted("stock") | {"min_count": count, "max_count": count}
            self._cloud.post(SERVERS, {"server": wanted})
        self.until_all_active(servers)
        return time.perf_counter() - began

    def get(self, path: str, times: int) -> dict[str, float]:
        return spread_ms([_seconds(lambda: self._cloud.get(path)) for _ in range(times)])

    def one_by_one(self, count: int) -> dict[str, Any]:
        """Each is deleted before the next is asked for."""
        accepted, active, deleted = [], [], []
        for _ in range(count):
            began = time.perf_counter()
            server = self._create()
            accepted.append(time.perf_counter() - began)
            self._until_active(server)
            active.append(time.perf_counter() - began)
            began = time.perf_counter()
            self._cloud.delete(f"{SERVERS}/{server}")
            self._until_gone(server)
            deleted.append(time.perf_counter() - began)
        return {
            "accepted": spread_ms(accepted),
            "active": spread_ms(active),
            "deleted": spread_ms(deleted),
        }

    def burst(self, count: int) -> dict[str, Any]:
        """So many requests of ten clients; `active_s` until the last is ACTIVE, `deleted_s` until all are
        gone again."""
        before = len(self._servers())
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            made = list(clients.map(lambda _: self._timed_create(), range(count)))
        self.until_all_active(before + count)
        active = time.perf_counter() - began
        began = time.perf_counter()
        with ThreadPoolExecutor(CLIENTS) as clients:
            list(clients.map(lambda one: self._cloud.delete(f"{SERVERS}/{one[0]}"), made))
        self._until(lambda: len(self._servers()) == before, "a deleted server is still there")
        return {
            "servers": count,
            "accepted": spread_ms([one[1] for one in made]),
            "active_s": round(active, 2),
            "deleted_s": round(time.perf_counter() - began, 2),
        }

    # -- small things

    def _create(self) -> str:
        return str(self._cloud.post(SERVERS, {"server": self._wanted("one")})["server"]["id"])

    def _timed_create(self) -> tuple[str, float]:
        began = time.perf_counter()
        return self._create(), time.perf_counter() - began

    def _wanted(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "flavorRef": "m1.nano",
            "imageRef": self._image,
            "networks": [{"uuid": self._network}],
        }

    def _servers(self) -> Sequence[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        while True:
            marker = f"&marker={rows[-1]['id']}" if rows else ""
            page = self._cloud.get(f"{SERVERS}/detail?limit={PAGE}{marker}")["servers"]
            rows += page
            if len(page) < PAGE:
                return rows

    def until_all_active(self, count: int) -> None:
        """There are so many servers. Raises RuntimeError when that does not come, or one is in ERROR."""

        def is_so() -> bool:
            rows = self._servers()
            for row in rows:
                if row["status"] == "ERROR":
                    raise RuntimeError(f"server {row['id']} is in ERROR: {row.get('fault')}")
            return len(rows) == count and all(row["status"] == "ACTIVE" for row in rows)

        self._until(is_so, f"there are not {count} servers, all ACTIVE")

    def _until_active(self, server: str) -> None:
        def is_so() -> bool:
            row = self._cloud.get(f"{SERVERS}/{server}")["server"]
            if row["status"] == "ERROR":
                raise RuntimeError(f"server {server} is in ERROR: {row.get('fault')}")
            return bool(row["status"] == "ACTIVE")

        self._until(is_so, f"server {server} is not ACTIVE")

    def _until_gone(self, server: str) -> None:
        def is_so() -> bool:
            try:
                self._cloud.get(f"{SERVERS}/{server}")
            except CloudAnswerError as error:
                if error.status != 404:
                    raise
                return True
            return False

        self._until(is_so, f"server {server} is still there")

    def _until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = time.monotonic() + WAIT_S
        while not is_so():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{otherwise}, after {WAIT_S:.0f} s")
            time.sleep(ASK_AGAIN_S)

    def _found(self, path: str, kind: str, name: str) -> str:
        found = self._cloud.find(path, kind, name)
        assert found is not None
        return str(found["id"])


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began

"""A tenant who boots and deletes servers all the while: what was accepted is there in the end, and at
rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any

from fabric.dev import first_content
from fabric.dev.cloud_client import CloudAnswerError, CloudClient
from tests.chaos.follower import Follower, GivenUpError, NoAnswerError

SERVERS = "/compute/v2.1/servers"
KEPT_MAX = 4  # of a quota of ten; then one is deleted for each that is created
REST_S = 240.0  # so long a server may need to come to rest when all nodes are whole
LOOK_S = 0.5
QUOTA_EXCEEDED = 403
AT_REST = ("ACTIVE", "ERROR")


class Tenant(threading.Thread):
    """About one server each `every_s` seconds, until `stop`."""

    def __init__(
        self,
        urls: Sequence[str],
        password: str,
        stop: threading.Event,
        *,
        given_up: threading.Event,
        every_s: float,
    ) -> None:
        super().__init__(name="tenant", daemon=True)
        self._follower = Follower(urls, password, begin=0, given_up=given_up)
        self._stop_event = stop
        self._every_s = every_s
        self._rng = Random(0)  # whom to delete, not a secret
        self._body: dict[str, Any] = {}
        self.there: dict[str, int] = {}  # id -> the entry its creation was answered from
        self.deleted: set[str] = set()  # also where nobody knows whether it was
        self.failed: list[str] = []

    def prepare(self, cloud: CloudClient, public_key: str) -> None:
        first_content.register(cloud, guest=None, public_key=public_key, physical=None, say=lambda text: None)
        image = cloud.find("/image/v2/images", "images", first_content.IMAGE)
        network = cloud.find("/network/v2.0/networks", "networks", first_content.NETWORK)
        assert image is not None
        assert network is not None
        networks = [{"uuid": network["id"]}]
        self._body = {"imageRef": image["id"], "flavorRef": "m1.nano", "networks": networks}

    def run(self) -> None:
        number = 0
        with suppress(GivenUpError):
            while not self._stop_event.wait(self._every_s):
                number += 1
                self._take_turn(f"server-{number}")

    def _take_turn(self, name: str) -> None:
        try:
            self._create(name)
            if len(self.there) > KEPT_MAX:
                self._remove(self._rng.choice(sorted(self.there)))
        except CloudAnswerError as error:
            if error.status != QUOTA_EXCEEDED:
                self.failed.append(f"{name}: {error}")
            self._remove_ghosts()
        except NoAnswerError as error:
            self.failed.append(f"{name}: {error}")

    def _create(self, name: str) -> None:
        body = {"server": self._body | {"name": name}}
        server = self._follower.ask(lambda cloud: cloud.post(SERVERS, body))["server"]
        self.there[server["id"]] = self._follower.last_index

    def _remove(self, server_id: str) -> None:
        del self.there[server_id]
        self.deleted.add(server_id)
        try:
            self._follower.ask(lambda cloud: cloud.delete(f"{SERVERS}/{server_id}"))
        except CloudAnswerError as error:
            if error.status != 404:  # deleted by an attempt nobody answered
                raise

    def _remove_ghosts(self) -> None:
        """Servers of attempts that nobody answered: they count against the quota, as those do whose host has
        to come back before they are gone."""
        try:
            rows = self._follower.ask(lambda cloud: cloud.get(f"{SERVERS}?limit=1000"))["servers"]
            for server_id in {row["id"] for row in rows} - self.there.keys() - self.deleted:
                self.there[server_id] = self._follower.last_index
                self._remove(server_id)
        except (CloudAnswerError, NoAnswerError) as error:
            self.failed.append(f"ghosts: {error}")


def wrong_servers(cloud: CloudClient, tenant: Tenant, *, kept: int | None = None) -> tuple[str, ...]:
    """Accepted and gone, or never at rest. `kept`: only what was answered from entries up to that counts."""
    deadline = time.monotonic() + REST_S
    while True:
        rows = {row["id"]: row for row in cloud.get(f"{SERVERS}/detail?limit=1000")["servers"]}
        restless = [row for row in rows.values() if not _is_at_rest(row)]
        if not restless or time.monotonic() > deadline:
            break
        time.sleep(LOOK_S)
    gone = [
        f"server {server_id} was accepted and is gone"
        for server_id, index in tenant.there.items()
        if server_id not in rows and (kept is None or index <= kept)
    ]
    return (*gone, *(f"server {row['id']} stays in {row['status']}" for row in restless))


def _is_at_rest(row: dict[str, Any]) -> bool:
    return row["status"] in AT_REST and row["OS-EXT-STS:task_state"] is None

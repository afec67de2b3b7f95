"""Clients whose calls are one history: they create and delete the same names, at any node."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from fabric.dev.cloud_client import CloudAnswerError, CloudClient
from tests.chaos.follower import Follower, GivenUpError, NoAnswerError
from tests.chaos.names import CONFLICT, CREATED, DELETED, NOT_FOUND, Create, Delete
from tests.sim.linearizability import UNKNOWN, Operation

KEYPAIRS = "/compute/v2.1/os-keypairs"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRlc2lnbmVkLWZvci10ZXN0cy1vbmx5LTEyMzQ1Njc4 chaos"


@dataclass(frozen=True, slots=True)
class Heard:
    operation: Operation
    index: int  # the answer came from rows that hold the log up to it; 0: no answer, or no such log

    @property
    def is_unknown(self) -> bool:
        return self.operation.returned == inf


@dataclass
class Told:
    """What all clients were told. Appended to by their threads."""

    heard: list[Heard] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)  # of each call, over all its attempts
    failed: list[str] = field(default_factory=list)  # nobody answered in time, or nobody expects the answer


class Client(threading.Thread):
    """Creates and deletes names until `stop`, about `rate` calls a second."""

    def __init__(
        self,
        number: int,
        urls: Sequence[str],
        password: str,
        told: Told,
        stop: threading.Event,
        *,
        given_up: threading.Event,
        names: int,
        rate: float,
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._follower = Follower(urls, password, begin=number, given_up=given_up)
        self._told = told
        self._stop_event = stop
        self._names = names
        self._pause_s = 1 / rate
        self._rng = Random(number)  # which name next, not a secret

    def run(self) -> None:
        while not self._stop_event.is_set():
            name = f"name-{self._rng.randrange(self._names)}"
            asked: Create | Delete = Create(name) if self._rng.random() < 0.5 else Delete(name)
            began = time.monotonic()
            self._call(asked)
            self._told.waits_s.append(time.monotonic() - began)
            self._stop_event.wait(max(0.0, began + self._pause_s - time.monotonic()))

    def _call(self, asked: Create | Delete) -> None:
        called = time.monotonic()

        def attempt(cloud: CloudClient) -> str:
            nonlocal called
            called = time.monotonic()
            return _ask(cloud, asked)

        def unknown(began: float) -> None:
            self._told.heard.append(Heard(Operation(self.name, began, inf, asked, UNKNOWN), 0))

        try:
            output = self._follower.ask(attempt, unknown)
        except GivenUpError:
            unknown(called)
        except (CloudAnswerError, NoAnswerError) as error:
            unknown(called)
            self._told.failed.append(f"{asked}: {error}")
        else:
            operation = Operation(self.name, called, time.monotonic(), asked, output)
            self._told.heard.append(Heard(operation, self._follower.last_index))


def _ask(cloud: CloudClient, asked: Create | Delete) -> str:
    try:
        if isinstance(asked, Create):
            cloud.post(KEYPAIRS, {"keypair": {"name": asked.name, "public_key": PUBLIC_KEY}})
            return CREATED
        cloud.delete(f"{KEYPAIRS}/{asked.name}")
        return DELETED
    except CloudAnswerError as error:
        if error.status == 409:
            return CONFLICT
        if error.status == 404:
            return NOT_FOUND
        raise

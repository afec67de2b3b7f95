"""Clients that follow the address list: what one node does not answer is asked of the next."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from random import Random

from fabric.dev.cloud_client import CloudAnswerError, CloudClient, CloudSilentError, CloudUnreachableError
from tests.chaos.names import CONFLICT, CREATED, DELETED, NOT_FOUND, Create, Delete
from tests.sim.linearizability import UNKNOWN, Operation

KEYPAIRS = "/compute/v2.1/os-keypairs"
PUBLIC_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGRlc2lnbmVkLWZvci10ZXN0cy1vbmx5LTEyMzQ1Njc4 chaos"
ASK_TIMEOUT_S = 10.0
GIVE_UP_S = 60.0  # no answer from any node for so long: the call failed
PAUSE_S = 0.02


@dataclass
class Told:
    """What all clients were told. Appended to by their threads."""

    history: list[Operation] = field(default_factory=list)
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
        names: int,
        rate: float,
    ) -> None:
        super().__init__(name=f"client-{number}", daemon=True)
        self._urls = list(urls)
        self._password = password
        self._told = told
        self._stop_event = stop
        self._names = names
        self._pause_s = 1 / rate
        self._rng = Random(number)  # which name next, not a secret
        self._at = number % len(urls)
        self._client: CloudClient | None = None

    def run(self) -> None:
        while not self._stop_event.is_set():
            name = f"name-{self._rng.randrange(self._names)}"
            asked: Create | Delete = Create(name) if self._rng.random() < 0.5 else Delete(name)
            began = time.monotonic()
            self._call(asked)
            self._told.waits_s.append(time.monotonic() - began)
            self._stop_event.wait(max(0.0, began + self._pause_s - time.monotonic()))

    def _call(self, asked: Create | Delete) -> None:
        """Until some node has answered."""
        give_up = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up:
            called = time.monotonic()
            try:
                output = self._ask(asked)
            except CloudUnreachableError:
                self._next()  # nothing was sent
            except (CloudSilentError, OSError):
                self._note(asked, called, None)
                self._next()
            except CloudAnswerError as error:
                if error.status != 503:
                    self._told.failed.append(f"{asked}: {error}")
                    return
                self._note(asked, called, None)  # it says itself that it may have been done
                self._next()
            else:
                self._note(asked, called, output)
                return
            time.sleep(PAUSE_S)
        self._told.failed.append(f"{asked}: no answer within {GIVE_UP_S:.0f} s")

    def _ask(self, asked: Create | Delete) -> str:
        if self._client is None:
            client = CloudClient(self._urls[self._at], timeout_s=ASK_TIMEOUT_S)
            try:
                client.login("admin", self._password, "admin")
            except (CloudSilentError, CloudAnswerError, OSError) as error:
                raise CloudUnreachableError(str(error)) from error  # what was asked has not been sent yet
            self._client = client
        try:
            if isinstance(asked, Create):
                body = {"keypair": {"name": asked.name, "public_key": PUBLIC_KEY}}
                self._client.post(KEYPAIRS, body)
                return CREATED
            self._client.delete(f"{KEYPAIRS}/{asked.name}")
            return DELETED
        except CloudAnswerError as error:
            if error.status == 409:
                return CONFLICT
            if error.status == 404:
                return NOT_FOUND
            raise

    def _next(self) -> None:
        self._client = None
        self._at = (self._at + 1) % len(self._urls)

    def _note(self, asked: Create | Delete, called: float, output: str | None) -> None:
        if output is None:
            self._told.history.append(Operation(self.name, called, inf, asked, UNKNOWN))
        else:
            self._told.history.append(Operation(self.name, called, time.monotonic(), asked, output))

"""A client of the public API that follows the address list: what one node does not answer is asked of the
next."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from fabric.dev.cloud_client import CloudAnswerError, CloudClient, CloudSilentError, CloudUnreachableError

ASK_TIMEOUT_S = 10.0
GIVE_UP_S = 60.0  # no answer from any node for so long: the call failed
PAUSE_S = 0.02
UNAUTHORIZED, UNAVAILABLE = 401, 503

T = TypeVar("T")


class NoAnswerError(Exception):
    """From no node, in all the time there was."""


class GivenUpError(Exception):
    """Nobody can answer any more, and nobody is expected to. The last attempt may have been done."""


class Follower:
    """For one thread."""

    def __init__(
        self, urls: Sequence[str], password: str, *, begin: int, given_up: threading.Event | None = None
    ) -> None:
        """`given_up`: set when whoever asks need not be answered any more."""
        self._given_up = given_up or threading.Event()
        self._urls = list(urls)
        self._password = password
        self._at = begin % len(urls)
        self._client: CloudClient | None = None

    @property
    def last_index(self) -> int:
        """The answer came from rows that hold all up to that entry of the log."""
        return 0 if self._client is None else self._client.last_index

    def ask(
        self, call: Callable[[CloudClient], T], on_unknown: Callable[[float], None] = lambda called: None
    ) -> T:
        """Until some node has answered. `on_unknown` hears when an attempt was made that may have been done.
        Raises CloudAnswerError: the answer is no; NoAnswerError, GivenUpError."""
        give_up = time.monotonic() + GIVE_UP_S
        while time.monotonic() < give_up:
            if self._given_up.is_set():
                raise GivenUpError
            called = time.monotonic()
            try:
                return call(self._connected())
            except CloudUnreachableError:
                pass  # nothing was sent
            except (CloudSilentError, OSError):
                on_unknown(called)
            except CloudAnswerError as error:
                if error.status not in (UNAUTHORIZED, UNAVAILABLE):
                    raise
                if error.status == UNAVAILABLE:
                    on_unknown(called)  # it says itself that it may have been done
            self._client = None  # a token that is over is over everywhere: log in anew
            self._at = (self._at + 1) % len(self._urls)
            time.sleep(PAUSE_S)
        raise NoAnswerError(f"no answer within {GIVE_UP_S:.0f} s")

    def _connected(self) -> CloudClient:
        if self._client is None:
            client = CloudClient(self._urls[self._at], timeout_s=ASK_TIMEOUT_S)
            try:
                client.login("admin", self._password, "admin")
            except (CloudSilentError, CloudAnswerError, OSError) as error:
                raise CloudUnreachableError(str(error)) from error  # what was asked has not been sent yet
            self._client = client
        return self._client

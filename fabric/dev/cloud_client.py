"""A small blocking client of the public API: what `fabric dev up` needs to fill a new cloud.

It speaks the same HTTP as any tenant; nothing here knows a shortcut into the fabric.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from fabric.errors import FabricError, Outcome

ANSWER_BYTES_MAX = 16 << 20
INDEX_HEADER = "x-fabric-index"


class CloudAnswerError(FabricError):
    """The API said no. `status` is HTTP's."""

    code = "fabric.dev.answer"
    outcome = Outcome.NOT_DONE

    def __init__(self, what: str, status: int, message: str) -> None:
        super().__init__(f"{what}: HTTP {status}: {message}")
        self.status = status


class CloudUnreachableError(FabricError):
    """Nobody listens where the API should be."""

    code = "fabric.dev.unreachable"
    outcome = Outcome.NOT_DONE


class CloudSilentError(FabricError):
    """The API took the request and gave no whole answer."""

    code = "fabric.dev.silent"
    outcome = Outcome.UNKNOWN


class CloudClient:
    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        parts = urlsplit(url)
        self._host, self._port = str(parts.hostname), int(parts.port or 80)
        self._timeout_s = timeout_s
        self._token: str | None = None
        self.last_index = 0  # of the log: what the last answer came from holds all up to it

    def login(self, user: str, password: str, project: str, *, domain: str = "Default") -> None:
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": {"name": domain}, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": {"name": domain}}},
            }
        }
        _, headers = self._send("POST", "/identity/v3/auth/tokens", json.dumps(body).encode())
        self._token = headers["x-subject-token"]

    def get(self, path: str) -> Any:
        return self._send("GET", path, None)[0]

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._send("POST", path, json.dumps(body).encode())[0]

    def put(self, path: str, body: dict[str, Any] | None = None) -> None:
        self._send("PUT", path, None if body is None else json.dumps(body).encode())

    def delete(self, path: str) -> None:
        self._send("DELETE", path, None)

    def find(self, path: str, key: str, name: str) -> dict[str, Any] | None:
        """The first object of a list with that name."""
        for item in self.get(f"{path}?name={quote(name)}")[key]:
            if item["name"] == name:
                found: dict[str, Any] = item
                return found
        return None

    def upload(self, image_id: str, path: Path) -> None:
        with path.open("rb") as source:
            size = str(path.stat().st_size)
            self._send(
                "PUT",
                f"/image/v2/images/{image_id}/file",
                source,
                {"Content-Type": "application/octet-stream", "Content-Length": size},
            )

    def wait(
        self, get: Callable[[], Any], done: Callable[[Any], bool], *, timeout_s: float, what: str
    ) -> Any:
        """Polls until `done`. Raises CloudAnswerError (status 504) when time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            value = get()
            if done(value):
                return value
            if time.monotonic() > deadline:
                raise CloudAnswerError(what, 504, f"not within {timeout_s:.0f} s")
            time.sleep(0.1)

    def _send(
        self, method: str, path: str, body: Any, headers: dict[str, str] | None = None
    ) -> tuple[Any, dict[str, str]]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        send = {"Content-Type": "application/json", "OpenStack-API-Version": "compute 2.104"}
        send |= headers or {}
        if self._token:
            send["X-Auth-Token"] = self._token
        try:
            connection.connect()
        except OSError as error:
            raise CloudUnreachableError(
                f"the API at {self._host}:{self._port}: {error.strerror or error}"
            ) from error
        try:
            connection.request(method, path, body, send)
            answer = connection.getresponse()
            text = answer.read(ANSWER_BYTES_MAX)
            found = {name.lower(): value for name, value in answer.getheaders()}
            self.last_index = int(found.get(INDEX_HEADER, 0))
        except (OSError, http.client.HTTPException) as error:
            raise CloudSilentError(f"{method} {path}: no answer ({error or type(error).__name__})") from error
        finally:
            connection.close()
        if answer.status >= 400:
            raise CloudAnswerError(f"{method} {path}", answer.status, text.decode("utf-8", "replace")[:500])
        return (json.loads(text) if text[:1] in (b"{", b"[") else None), found

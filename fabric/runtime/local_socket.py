"""The agent's local door: HTTP over a unix socket in its state directory, mode 0600.

Whoever may open the socket is the operator; file permissions are the authentication. Paths of unix
sockets end at 107 characters, so both sides go through an open directory's /proc entry.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fabric.errors import FabricError, Outcome

SOCKET_NAME = "agent.sock"
ANSWER_BYTES_MAX = 64 << 20
LINE_BYTES_MAX = 1 << 20


class AgentNotRunningError(FabricError):
    code = "fabric.local.not_running"
    outcome = Outcome.NOT_DONE


class AgentRefusedError(FabricError):
    """The agent answered with an error; the message is its own."""

    code = "fabric.local.refused"
    outcome = Outcome.NOT_DONE


def bind(directory: Path) -> socket.socket:
    """A listening socket at DIR/agent.sock. A stale one of an earlier life is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _short(directory) as path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
            # Before bind, so that it is private from its first moment; umask would hit other threads' files.
            os.fchmod(listener.fileno(), 0o600)
            listener.bind(path)
        listener.listen(64)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


class LocalClient:
    """Blocking, for the command line."""

    def __init__(self, directory: Path, *, timeout_s: float = 30.0) -> None:
        self._directory = directory
        self._timeout_s = timeout_s

    def get(self, path: str) -> Any:
        return self._ask("GET", path, None)

    def text(self, path: str) -> str:
        """An answer that is no JSON, as it is."""
        status, data = self._exchange("GET", path, None)
        if status >= 400:
            raise AgentRefusedError(f"HTTP {status}")
        return data.decode("utf-8", "replace")

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self._ask("POST", path, body)

    def lines(self, path: str) -> Iterator[Any]:
        """One JSON value a line, until the reader goes away.

        Raises AgentNotRunningError when the agent goes away."""
        connection = self._connect(timeout_s=None)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            while True:
                yield self._next_value(answer)
        except (OSError, http.client.HTTPException) as error:
            raise self._stopped(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _next_value(self, answer: http.client.HTTPResponse) -> Any:
        line = answer.readline(LINE_BYTES_MAX)
        if not line:
            raise self._stopped("it has ended")
        try:
            return json.loads(line)
        except ValueError as error:  # cut off in mid-line
            raise self._stopped("its last line is incomplete") from error

    def _ask(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        status, text = self._exchange(method, path, body)
        try:
            value = json.loads(text) if text else None
        except ValueError as error:
            raise self._stopped(str(error)) from error
        if status >= 400:
            message = value.get("error") if isinstance(value, dict) else None
            raise AgentRefusedError(str(message or f"HTTP {status}"))
        return value

    def _exchange(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, bytes]:
        """Status and body of the answer."""
        connection = self._connect(timeout_s=self._timeout_s)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        except (OSError, http.client.HTTPException) as error:
            raise self._stopped(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _stopped(self, why: str) -> AgentNotRunningError:
        return AgentNotRunningError(f"the agent at {self._directory} stopped answering: {why}")

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.settimeout(timeout_s)
            with _short(self._directory) as path:
                stream.connect(path)
        except OSError as error:
            stream.close()
            raise AgentNotRunningError(
                f"no agent answers at {self._directory / SOCKET_NAME} ({error.strerror or error})"
            ) from error
        connection.sock = stream
        return connection


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[str]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{handle}/{SOCKET_NAME}"
    finally:
        os.close(handle)

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
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from fabric.errors import FabricError, Outcome

SOCKET_NAME = "agent.sock"
ANSWER_BYTES_MAX = 64 << 20
LINE_BYTES_MAX = 1 << 20
CHUNK_BYTES = 1 << 20
READ_TIMEOUT_S = 5.0  # what a node answers from memory takes milliseconds; a longer silence is none of load


class AgentNotRunningError(FabricError):
    code = "fabric.local.not_running"
    outcome = Outcome.NOT_DONE


class AgentSilentError(AgentNotRunningError):
    """It runs and says nothing: stopped by a signal, or stuck. `pid`: 0 when it could not be learned."""

    code = "fabric.local.silent"

    def __init__(self, message: str, *, pid: int, outcome: Outcome = Outcome.NOT_DONE) -> None:
        super().__init__(message)
        self.pid = pid
        self.outcome = outcome  # type: ignore[misc]  # of this one error: a request may have been taken


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
    """Blocking, for the command line. A timeout is for each byte waited for, so also for the first.

    Raises AgentNotRunningError where nobody answers; AgentSilentError, a kind of it, where somebody should.
    """

    def __init__(
        self, directory: Path, *, timeout_s: float = 30.0, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self._directory = directory
        self._timeout_s = timeout_s
        self._read_timeout_s = read_timeout_s

    def get(self, path: str, *, timeout_s: float | None = None) -> Any:
        """`timeout_s`: for answers that take longer than those from memory, or are worth less waiting."""
        return self._ask("GET", path, None, self._read_timeout_s if timeout_s is None else timeout_s)

    def text(self, path: str) -> str:
        """An answer that is no JSON, as it is."""
        status, data = self._exchange("GET", path, None, self._read_timeout_s)
        if status >= 400:
            raise AgentRefusedError(f"HTTP {status}")
        return data.decode("utf-8", "replace")

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """May take long, so it is first made sure that somebody is there: a stuck agent is not waited for."""
        self._exchange("GET", "/status", None, self._read_timeout_s)
        return self._ask("POST", path, body, self._timeout_s)

    def download(self, path: str, body: dict[str, Any], out: IO[bytes], *, timeout_s: float) -> None:
        """All of an answer that is a file, into `out`; `timeout_s` is for its first byte, and each after it.
        Asks as `post` does. Raises AgentNotRunningError where less comes than was announced."""
        self._exchange("GET", "/status", None, self._read_timeout_s)
        connection = self._connect(timeout_s)
        stream = connection.sock
        try:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status >= 400:
                self._value_of(answer.status, answer.read(ANSWER_BYTES_MAX))
            left = int(answer.headers["Content-Length"])
            while left and (chunk := answer.read(min(left, CHUNK_BYTES))):
                out.write(chunk)
                left -= len(chunk)
            if left:
                raise self._stopped(f"{left} bytes are missing")
        except TimeoutError as error:
            raise self._silent(stream) from error
        except (ConnectionError, http.client.HTTPException) as error:
            raise self._stopped(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def lines(self, path: str) -> Iterator[Any]:
        """One JSON value a line, until the reader goes away.

        Raises AgentNotRunningError when the agent goes away."""
        connection = self._connect(self._read_timeout_s)
        stream = connection.sock
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            stream.settimeout(None)  # the head comes at once, a line when something happens
            while True:
                yield self._next_value(answer)
        except TimeoutError as error:
            raise self._silent(stream) from error
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

    def _ask(self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float) -> Any:
        return self._value_of(*self._exchange(method, path, body, timeout_s))

    def _value_of(self, status: int, text: bytes) -> Any:
        """Raises AgentRefusedError."""
        try:
            value = json.loads(text) if text else None
        except ValueError as error:
            raise self._stopped(str(error)) from error
        if status >= 400:
            message = value.get("error") if isinstance(value, dict) else None
            raise AgentRefusedError(str(message or f"HTTP {status}"))
        return value

    def _exchange(
        self, method: str, path: str, body: dict[str, Any] | None, timeout_s: float
    ) -> tuple[int, bytes]:
        """Status and body of the answer."""
        connection = self._connect(timeout_s)
        stream = connection.sock
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read(ANSWER_BYTES_MAX)
        except TimeoutError as error:
            raise self._silent(stream, maybe_done=method != "GET") from error
        except (OSError, http.client.HTTPException) as error:
            raise self._stopped(str(error) or type(error).__name__) from error
        finally:
            connection.close()

    def _stopped(self, why: str) -> AgentNotRunningError:
        return AgentNotRunningError(f"the agent at {self._directory} stopped answering: {why}")

    def _silent(self, stream: socket.socket | None, *, maybe_done: bool = False) -> AgentSilentError:
        pid = 0 if stream is None else _listener_pid(stream)
        who = f"the agent (pid {pid})" if pid else f"the agent at {self._directory}"
        why = "it is stopped" if _is_stopped(pid) else "it is stopped or stuck"
        done = "; it may have taken the request" if maybe_done else ""
        outcome = Outcome.UNKNOWN if maybe_done else Outcome.NOT_DONE
        return AgentSilentError(f"{who} does not answer: {why}{done}", pid=pid, outcome=outcome)

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("localhost")
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.settimeout(timeout_s)
            with _short(self._directory) as path:
                stream.connect(path)
        except (BlockingIOError, TimeoutError) as error:  # its queue is full of those it did not answer
            stream.close()
            raise self._silent(None) from error
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


def _listener_pid(stream: socket.socket) -> int:
    """Who listens at the other end of a connected stream; 0 where the kernel does not say."""
    try:
        answer = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return 0
    return int(struct.unpack("3i", answer)[0])


def _is_stopped(pid: int) -> bool:
    """By a signal or a debugger; False when that cannot be seen from here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in ("T", "t")
    except (OSError, IndexError):
        return False

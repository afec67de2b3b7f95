"""What systemd is to real agents: one that ends by itself is started again (`Restart=always`,
`RestartSec=2`)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

RESTART_S = 2.0  # as in fabric/cli/fabric-agent.service
LOOK_S = 0.1
END_TIMEOUT_S = 60.0


class Keeper(threading.Thread):
    """`spawn` starts the agent of that name; `last_words` is what it said last."""

    def __init__(
        self, spawn: Callable[[str], subprocess.Popen[bytes]], last_words: Callable[[str], str]
    ) -> None:
        super().__init__(name="keeper", daemon=True)
        self._spawn = spawn
        self._last_words = last_words
        self._lock = threading.Lock()
        self._kept: dict[str, subprocess.Popen[bytes]] = {}
        self._ended_s: dict[str, float] = {}
        self._may_end: set[str] = set()
        self._stopping = threading.Event()
        self.ended: list[str] = []  # where nobody made them

    def begin(self, name: str) -> None:
        with self._lock:
            if name not in self._kept:
                self._kept[name] = self._spawn(name)

    def end(self, names: Sequence[str], number: int) -> None:
        """With a signal; they stay down. Raises TimeoutExpired."""
        with self._lock:
            ending = [self._kept.pop(name) for name in names if name in self._kept]
            for name in names:
                self._ended_s.pop(name, None)
            for process in ending:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, number)
        for process in ending:
            process.wait(END_TIMEOUT_S)

    def pid(self, name: str) -> int | None:
        with self._lock:
            process = self._kept.get(name)
            return process.pid if process is not None and process.poll() is None else None

    def may_end(self, name: str, does: bool) -> None:
        """Whether its end is what somebody wants to see, and no finding."""
        with self._lock:
            (self._may_end.add if does else self._may_end.discard)(name)

    def close(self) -> None:
        self._stopping.set()
        if self.is_alive():
            self.join()

    def run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            with self._lock:
                for name, process in list(self._kept.items()):
                    self._look(name, process)

    def _look(self, name: str, process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            return
        now = time.monotonic()
        ended = self._ended_s.setdefault(name, now)
        if ended == now and name not in self._may_end:
            self.ended.append(f"{name}: status {process.returncode}: {self._last_words(name)}")
        if now - ended >= RESTART_S:
            del self._ended_s[name]
            self._kept[name] = self._spawn(name)

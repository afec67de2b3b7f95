"""A file of a node's rows: from its agent where one runs, out of its directory where none does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

from fabric.runtime.local_socket import AgentNotRunningError, AgentSilentError, LocalClient
from fabric.store.files import new_private_file
from fabric.store.lock import DirectoryLock

T = TypeVar("T")

MAKING_TIMEOUT_S = 1_800.0  # a copy of a gigabyte takes seconds where the disk has nothing else to do


def write_copy(
    state_dir: Path,
    file: Path,
    *,
    force: bool,
    path: str,
    body: dict[str, Any],
    stopped: Callable[[IO[bytes]], object],
    check: Callable[[IO[bytes]], T],
) -> tuple[T, bool]:
    """`path` and `body`: what an agent is asked; `stopped` writes it without one; `check` reads it and may
    refuse it. The file is whole or not there, 0600. Gives what `check` found, and whether an agent was asked.

    Raises AgentSilentError: one runs and does not answer, so its directory is not to be read;
    AgentRefusedError, StoreLockedError, FileExistsError, OSError, and what the two raise.
    """
    with new_private_file(file, force=force) as out:
        is_running = _ask(state_dir, path, body, out)
        if not is_running:
            lock = DirectoryLock(state_dir)
            lock.acquire()
            try:
                stopped(out)
            finally:
                lock.release()
        out.seek(0)
        return check(out), is_running


def _ask(state_dir: Path, path: str, body: dict[str, Any], out: IO[bytes]) -> bool:
    """False: no agent is there to ask."""
    try:
        LocalClient(state_dir).download(path, body, out, timeout_s=MAKING_TIMEOUT_S)
    except AgentSilentError:
        raise
    except AgentNotRunningError:
        if out.tell():  # it ran a moment ago
            raise
        return False
    return True

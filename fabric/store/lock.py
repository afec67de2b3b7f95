"""One process at a time in a state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fabric.store.errors import StoreLockedError

LOCK_FILE = "lock"


class DirectoryLock:
    """An flock: it goes with the process, however it ends."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._descriptor = -1

    def acquire(self) -> None:
        """Raises StoreLockedError, OSError."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StoreLockedError(f"{self._path.parent} is in use by another process") from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def release(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

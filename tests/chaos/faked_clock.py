"""An agent's own wall clock: libfaketime (Debian's), told by a file how far off it is, also while it runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

LIBRARIES = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)


def library() -> Path | None:
    return next((path for path in LIBRARIES if path.exists()), None)


class FakedClock:
    """Right until `set`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.set(0)

    def set(self, offset_s: int) -> None:
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{offset_s:+d}\n")
        os.replace(fresh, self._file)

    def environment(self) -> Mapping[str, str]:
        """Of the process whose clock it is."""
        found = library()
        if found is None:
            raise FileNotFoundError("libfaketime is not installed (make setup, as root)")
        return {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",  # seconds until a process looks at the file again
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # no machine's monotonic clock jumps
            "NO_FAKE_STAT": "1",
            "FAKETIME_DISABLE_SHM": "1",  # else a killed process leaves files in /dev/shm
        }

"""Whether all voters hold the same rows, and each log says what its voter's rows are: read from their
files."""

from __future__ import annotations

import signal
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

from fabric.store.life_swap import STATE
from fabric.store.row_digest import digest_rows
from fabric.store.sqlite import DATABASE, open_reader
from fabric.store.verify import verify
from tests.chaos.bed import Bed

LEVEL_S = 120.0
LOOK_S = 0.5


def differing(bed: Bed) -> tuple[str, ...]:
    """Nobody writes any more. Waits until all are at the same entry, for the fabric itself writes a
    little."""
    deadline = time.monotonic() + LEVEL_S
    while True:
        found = {name: _digest(bed.state_dir(name) / STATE) for name in bed.names}
        if len({index for index, _ in found.values()}) == 1:
            break
        if time.monotonic() > deadline:
            return (f"voters are not level: { ({name: index for name, (index, _) in found.items()}) }",)
        time.sleep(LOOK_S)
    if len({digest for _, digest in found.values()}) == 1:
        return ()
    return tuple(f"rows of {name} at entry {index}: {digest[:16]}" for name, (index, digest) in found.items())


def unsound(bed: Bed) -> tuple[str, ...]:
    """Stops all agents, and does for each what `fabric doctor log` does."""
    bed.kill(bed.names, signal.SIGTERM)
    found = []
    for name in bed.names:
        with tempfile.TemporaryDirectory(prefix="fabric-chaos-verify-") as scratch:
            report = verify(bed.state_dir(name) / STATE, Path(scratch))
        found += [f"{name}: {finding.check}: {finding.what}" for finding in report.findings]
    return tuple(found)


def _digest(state: Path) -> tuple[int, str]:
    with closing(open_reader(state / DATABASE)) as rows:
        try:
            rows.execute("BEGIN")
            (index,) = rows.execute("SELECT applied_index FROM position").fetchone()
            return index, digest_rows(rows).hex()
        except sqlite3.OperationalError as error:
            return -1, str(error)

"""What does a create of a server cost each voter's processor, without waiting for anybody?

Back of an envelope: SQLite needs 0.15 ms for seven inserts with their indices, four lookups and a share of
the commit; reading the command and the handler's Python as much again. Three voters on two processors at
1,500 a second may spend 0.44 ms each in all.

    python bench/fold.py [--creates 2000] [--groups 1 32 128] [--profile]

Prints one JSON object: milliseconds of processor time of a create, in groups of that size: the median of the
groups, and the least, which other programs disturbed least. What `decode` says is within `fold`.
`--profile`: cProfile's costliest lines of the last size instead.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import os
import platform
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._server_creates import create, found
from bench._spread import commit
from fabric.core.queries import Applied
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.store.command_entry import decode_command_entry, encode_command_entry
from fabric.store.sqlite import opened_writer
from fabric.store.voter_tables import VoterTables
from proto.commands import Command, encode_command
from proto.ids import LogIndex, RequestId, Term, new_request_id
from proto.raft import EntryKind, LogEntry

START_MS = 1_800_000_000_000
WARM = 200  # creates before the first that counts
LINES = 40


class _Log:
    """Keeps what is proposed, and answers nothing."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        index = LogIndex(len(self.entries) + 1)
        data = encode_command_entry(START_MS + index, request_id, encode_command(command))
        self.entries.append(LogEntry(index=index, term=Term(1), kind=EntryKind.COMMAND, data=data))
        return Applied(index, {})


async def _entries(creates: int) -> tuple[list[LogEntry], int]:
    """And how many of them come before the creates."""
    log = _Log()
    tenant = await found(log)
    first = len(log.entries)
    for number in range(WARM + creates):
        await log.propose(create(tenant, number, START_MS), request_id=new_request_id())
    return log.entries, first


def _timed(
    groups: Sequence[Sequence[LogEntry]], work: Callable[[Sequence[LogEntry]], Any]
) -> dict[str, float]:
    each = []
    for group in groups:
        began = time.thread_time()
        work(group)
        each.append((time.thread_time() - began) / len(group) * 1_000)
    return {"median": round(statistics.median(each), 3), "min": round(min(each), 3)}


def _decode(group: Sequence[LogEntry]) -> None:
    for entry in group:
        decode_command_entry(entry, not_before_ms=0)


def measure(
    entries: Sequence[LogEntry], first: int, size: int, profile: cProfile.Profile | None
) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory(prefix="fabric-bench-") as folder,
        opened_writer(Path(folder) / "state.sqlite") as connection,
    ):
        tables = VoterTables(connection)
        tables.found(SnapshotMark(LogIndex(0), Term(0), Configuration()))
        tables.fold_in_groups(entries[: first + WARM])
        rest = entries[first + WARM :]
        groups = [rest[start : start + size] for start in range(0, len(rest), size)]
        decode = _timed(groups, _decode)
        if profile is not None:
            profile.enable()
        fold = _timed(groups, tables.fold)
        if profile is not None:
            profile.disable()
    return {"group": size, "fold_ms": fold, "decode_ms": decode}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--creates", type=int, default=2_000)
    parser.add_argument("--groups", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--profile", action="store_true")
    args = parser.parse_args()
    entries, first = asyncio.run(_entries(args.creates))
    if args.profile:
        profile = cProfile.Profile(time.thread_time)
        measure(entries, first, args.groups[-1], profile)
        pstats.Stats(profile).sort_stats("tottime").print_stats(LINES)
        return
    report = {
        "bench": "fold",
        "commit": commit(),
        "machine": {"cpus": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "creates": args.creates,
        "groups": [measure(entries, first, size, None) for size in args.groups],
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()

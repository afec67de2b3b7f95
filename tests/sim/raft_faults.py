"""What may go wrong in a world of voters, and how often; drawn anew for each seed (swarm testing)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from fabric.store.voter_log import SEGMENT_BYTES_MIN

SMALL_SEGMENT_BYTES = 8_000  # a few entries: there is a new segment every moment


class DiskFault(StrEnum):
    WRITE = "a write fails"
    SYNC = "a sync fails, and the next one says that all is well"
    NAMES = "a file cannot be made, renamed or removed"
    FULL = "no space for a new segment, until somebody frees some"
    FULL_WRITE = "no space for what is appended (a filesystem that copies on write)"
    UNREADABLE = "the log cannot be read at the next start, or the next few"
    TABLES = "SQLite fails in the middle of a fold"
    ROT = "a bit of a durable record flips"
    SET_BACK = "the directory is put back from an older copy"


LOSING = frozenset(
    {DiskFault.WRITE, DiskFault.SYNC, DiskFault.NAMES, DiskFault.ROT, DiskFault.SET_BACK}
)  # after these the disk is not trusted any more


@dataclass(slots=True)
class Faults:
    """Chances by message or moment."""

    loss: float = 0.0
    duplicate: float = 0.0
    delay_ms: int = 5
    slow_share: float = 0.0  # of messages that take up to ten times as long
    fsync_ms: int = 5
    fold_ms: int = 5
    crash: float = 0.0  # a second, for each voter
    torn: float = 0.0  # a write: the power fails in the middle of it
    parted: float = 0.0  # a snapshot: the power fails when the log has it and the tables have not
    cut: float = 0.0
    pause: float = 0.0
    compact: float = 0.0
    change: float = 0.0
    transfer: float = 0.0
    upgrade: float = 0.0  # a voter of an old version: it ends, and its next life is of the new one
    stranger: float = 0.0  # a change of the voters: nobody looks whether the new ones can follow
    gone: float = 0.0  # a voter hears that its leader's process ended, true or not
    disk: float = 0.0
    disk_faults: tuple[DiskFault, ...] = tuple(DiskFault)
    is_correlated: bool = False  # disks fail without regard to how many did already
    segment_bytes: int = SEGMENT_BYTES_MIN

    @classmethod
    def drawn_from(cls, rng: Random) -> Faults:
        def some(most: float) -> float:
            return rng.choice((0.0, rng.uniform(0, most)))

        return cls(
            loss=some(0.3),
            duplicate=some(0.2),
            delay_ms=rng.choice((1, 5, 40, 150)),
            slow_share=some(0.2),
            fsync_ms=rng.choice((0, 5, 50)),
            fold_ms=rng.choice((0, 5, 100)),
            crash=some(0.4),
            torn=some(0.02),
            parted=some(0.8),
            cut=some(0.5),
            pause=some(0.4),
            compact=some(1.0),
            change=some(0.4),
            transfer=some(0.4),
            gone=some(1.0),
            disk=some(1.0),
            disk_faults=tuple(fault for fault in DiskFault if rng.random() < 0.5),
            segment_bytes=rng.choice((SMALL_SEGMENT_BYTES, SMALL_SEGMENT_BYTES, SEGMENT_BYTES_MIN)),
        )

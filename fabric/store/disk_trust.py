"""What a disk did, and whether a voter may go on under its name after it. Pure.

A voter's name stands for what it promised: votes, and entries it acknowledged. Where any of that may be gone
its next life is another voter, which learns everything from the others (`voter_id.disown_voter`).
"""

from __future__ import annotations

import errno

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.store.errors import LogCorruptError, LogFailedError
from proto.ids import VoterId

LOSING = (errno.EIO, errno.ENXIO, errno.ENODEV)  # the disk, not the way to it


def may_have_lost(error: BaseException) -> bool:
    """Whether what the log's disk said it holds may be gone (fsync's errors are told once; Rebello and
    others, "Can Applications Recover from fsync Failures?", 2020). A full disk, or too many open files, lose
    nothing; what cannot be read now may be readable later; snapshots and tables can be had anew."""
    if isinstance(error, PromiseForgottenError | LogCorruptError):
        return True
    cause = error.__cause__ if isinstance(error, LogFailedError) else None
    return isinstance(cause, OSError) and cause.errno in LOSING


def can_learn_anew(me: VoterId, configuration: Configuration) -> bool:
    """Whether somebody else has what this voter would lose with its name. Who is alone has nobody to learn
    from, and goes on from what is there."""
    return bool(configuration.all_voters - {me})


def is_set_back(inside: int | None, outside: int | None) -> bool:
    """Whether a voter's directory is older than its node: `inside` and `outside` are its starts as either
    counts them, None where that was never written. A start is counted inside first, so a crash between the
    two leaves the inside ahead."""
    return outside is not None and (inside is None or inside < outside)

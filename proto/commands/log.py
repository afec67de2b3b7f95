"""About the log itself."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class LogCompare(Command):
    """Every voter takes a digest of its rows as they are right behind this entry, and compares it with those
    of the others. Changes nothing."""

    KIND = "log.compare"


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class LevelRaise(Command):
    """From this entry on the group is at level `to`, which every voter and learner can apply: commands of
    that level may be proposed, and the revision of the rows that belongs to it is done by this very entry.

    `digest`: SHA-256 of that revision's SQL as it is rendered for SQLite; empty where the level has none. A
    voter whose program renders another one, or knows no such level, halts at this entry.
    Rejected: `conflict` (`to` is not the level that comes next).
    """

    KIND = "log.raise_level"

    to: int
    digest: bytes = b""

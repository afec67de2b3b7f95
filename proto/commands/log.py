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

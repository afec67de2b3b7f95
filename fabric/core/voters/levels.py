"""Levels: what programs of different versions can apply, and when a group goes one up.

A level is a small whole number that names commands and the shape of the rows. A program can apply a span of
them; every node says its program's in its record, under LEVELS_LABEL. The group is at one level at a time, a
part of its rows, which an entry raises (`proto.commands.log.LevelRaise`): by one, when everybody who holds
the log can follow. So versions N and N+1 run together for as long as it takes to upgrade the last of them,
and nothing is proposed that one of them could not apply.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fabric.core.queries import Query

LEVELS_LABEL = "levels"  # in every node's record: "1-2"
LEVEL_MAX = 1 << 16


@dataclass(frozen=True, slots=True)
class Levels:
    """From `lowest` to `highest`. Who is above the group's level runs at it, who is below cannot follow."""

    lowest: int = 1
    highest: int = 1

    def __post_init__(self) -> None:
        assert 1 <= self.lowest <= self.highest <= LEVEL_MAX, self

    def can(self, level: int) -> bool:
        return self.lowest <= level <= self.highest

    def __str__(self) -> str:
        return f"{self.lowest}-{self.highest}"


BEFORE_LEVELS = Levels()  # of a node that says nothing: there was one level when nobody spoke of them
THIS_PROGRAM = Levels(1, 3)  # raised with the first command or revision of a level: see store/program.py


def parse_levels(text: str) -> Levels:
    """What a record says. What nobody can have meant is as if nothing was said: it only makes the group
    wait."""
    low, _, high = text.partition("-")
    if not all(
        part.isascii() and part.isdigit() and len(part) <= len(str(LEVEL_MAX)) for part in (low, high)
    ):
        return BEFORE_LEVELS
    lowest, highest = int(low), int(high)
    return Levels(lowest, highest) if 1 <= lowest <= highest <= LEVEL_MAX else BEFORE_LEVELS


def next_level(active: int, own: Levels, others: Collection[Levels]) -> int | None:
    """To which level the group goes now; None: it stays. `others`: all who hold the log or stand by, the dead
    as well, for they come back with the program that they had."""
    to = active + 1
    return to if own.can(to) and all(each.can(to) for each in others) else None


@dataclass(frozen=True, slots=True)
class GetLevel(Query[int]):
    """At which the group's rows are."""

"""What this program can apply: its levels, and for each the commands, their handlers and the revision.

Everything that folds entries is given one. Tests of mixed versions are given another than the product's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fabric.core.voters.levels import THIS_PROGRAM, Levels
from fabric.errors import CommandRejectedError
from fabric.store.apply import log
from fabric.store.apply.registry import Handlers, Registered, all_handlers
from fabric.store.revision import Revision
from fabric.store.revisions import REVISIONS
from proto.commands import Command, Kinds, all_commands
from proto.commands.log import LevelRaise


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Invariant: every kind has a handler and a level that the program can apply."""

    levels: Levels
    kinds: Kinds
    handlers: Handlers
    revisions: Mapping[int, Revision]  # by the level each leads to; a level may have none

    def __post_init__(self) -> None:
        assert self.kinds.keys() <= self.handlers.keys(), self.kinds.keys() - self.handlers.keys()
        assert all(self.levels.highest >= kind.LEVEL for kind in self.kinds.values())
        assert all(1 < level <= self.levels.highest for level in self.revisions)

    def raise_to(self, level: int) -> LevelRaise:
        """The command that takes a group to `level`, as this program would do it."""
        return LevelRaise(to=level, digest=self.digest_of(level))

    def digest_of(self, level: int) -> bytes:
        """Of the revision that leads there; empty where there is none."""
        revision = self.revisions.get(level)
        return b"" if revision is None else revision.digest

    def cannot(self, command: Command, level: int) -> str:
        """Why rows at `level` cannot take that entry here; "" when they can."""
        if not isinstance(command, LevelRaise) or command.to != level + 1:
            return ""  # any other raise is rejected, everywhere alike
        if command.to > self.levels.highest:
            highest = self.levels.highest
            return f"it raises the level to {command.to}, and this program can apply {highest} at most"
        if command.digest != self.digest_of(command.to):
            return f"this program's revision for level {command.to} is another one than the group's"
        return ""

    def cannot_run_at(self, level: int) -> str:
        """Why rows at `level` are not for this program; "" when they are."""
        if level > self.levels.highest:
            return f"level {level}, and this program can apply {self.levels.highest} at most: run a newer one"
        if level < self.levels.lowest:
            return (
                f"level {level}, and this program needs {self.levels.lowest}: run one between the two first"
            )
        return ""

    def with_next(self, kinds: Kinds, handlers: Handlers, revision: Revision | None) -> Program:
        """A program that can do one level more."""
        levels = Levels(self.levels.lowest, self.levels.highest + 1)
        revisions = {**self.revisions, **({} if revision is None else {levels.highest: revision})}
        raising = Registered(log.raising(revisions), self.handlers[LevelRaise.KIND].object_of)
        return replace(
            self,
            levels=levels,
            kinds={**self.kinds, **kinds},
            handlers={**self.handlers, **handlers, LevelRaise.KIND: raising},
            revisions=revisions,
        )


PROGRAM = Program(THIS_PROGRAM, all_commands(), all_handlers(), REVISIONS)


def need_level(command: Command, level: int) -> None:
    """Before it is proposed at `level`. Raises CommandRejectedError: some who would apply it could not."""
    if level < command.LEVEL:
        raise CommandRejectedError(
            "bad_state",
            f"This needs level {command.LEVEL} of the fabric, which is at {level} until every node that "
            "holds its rows runs a version that can follow; `fabric voters list` shows which do not.",
        )

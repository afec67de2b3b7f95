"""What a program says that it can apply is what it can apply; a revision is the same on both engines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa

from fabric.core.voters.levels import THIS_PROGRAM
from fabric.errors import CommandRejectedError
from fabric.store.errors import RevisionFailedError
from fabric.store.program import PROGRAM, need_level
from fabric.store.revision import Revision
from fabric.store.revisions import REVISIONS
from proto.commands.log import LevelRaise, LogCompare
from tests.fixtures.next_program import BASELINE, THREE, TWO, Paint, Scrape


def test_this_program_can_apply_what_it_says_and_nothing_newer() -> None:
    levels = {kind.LEVEL for kind in PROGRAM.kinds.values()} | set(REVISIONS)
    assert max(levels) == THIS_PROGRAM.highest == PROGRAM.levels.highest
    assert THIS_PROGRAM.highest - THIS_PROGRAM.lowest <= 2, "handlers stay for two releases"
    assert all(name.revision_id.startswith(f"{level:04}_") for level, name in REVISIONS.items())


def test_a_revision_is_known_by_its_sql() -> None:
    def other(op: Any) -> None:
        op.add_column("projects", sa.Column("colour", sa.Text(), nullable=True))

    def same_in_other_words(op: Any) -> None:
        TWO.revisions[2].upgrade(op)

    assert TWO.digest_of(2) == Revision("0002_renamed", same_in_other_words).digest
    assert TWO.digest_of(2) != Revision("0002_colours", other).digest
    assert BASELINE.digest_of(2) == b"" == THREE.digest_of(3)
    assert "CREATE TABLE paints" in TWO.revisions[2].rendered("postgresql")


@pytest.mark.parametrize(
    ("program", "command", "level", "why"),
    [
        (BASELINE, TWO.raise_to(2), 1, "can apply 1 at most"),
        (BASELINE, TWO.raise_to(2), 2, ""),  # rejected, whatever it says
        (TWO, TWO.raise_to(2), 1, ""),
        (TWO, LevelRaise(to=2), 1, "another one than the group's"),
        (THREE, TWO.raise_to(2), 1, ""),
        (TWO, THREE.raise_to(3), 2, "can apply 2 at most"),
        (THREE, LevelRaise(to=3, digest=b"x"), 2, "another one than the group's"),
        (BASELINE, LogCompare(), 1, ""),
    ],
)
def test_who_can_apply_a_raise(program: Any, command: Any, level: int, why: str) -> None:
    cannot = program.cannot(command, level)
    assert why in cannot
    assert bool(why) == bool(cannot)


@pytest.mark.parametrize(("level", "why"), [(1, ""), (2, ""), (3, "run a newer one")])
def test_at_which_level_a_program_can_run(level: int, why: str) -> None:
    assert TWO.cannot_run_at(level).endswith(why)
    assert bool(TWO.cannot_run_at(level)) == bool(why)


def test_a_command_is_refused_until_its_level_is_there() -> None:
    need_level(Paint(colour="red"), 2)
    with pytest.raises(CommandRejectedError, match="needs level 3 of the fabric, which is at 2"):
        need_level(Scrape(colour="red"), 2)


@pytest.mark.parametrize("error", [ValueError, KeyError, AssertionError, ImportError])
def test_a_revision_that_fails_is_never_taken_for_a_rejection(error: Callable[[str], Exception]) -> None:
    """Which is an answer like any other, and may be one voter's alone."""

    def wrong(_: Any) -> None:
        raise error("wrong")

    with sa.create_engine("sqlite://").connect() as connection, pytest.raises(RevisionFailedError):
        Revision("0002_wrong", wrong).run(connection)

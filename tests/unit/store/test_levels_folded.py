"""Tables of programs of two versions: a revision is done by its entry, wholly or not at all, at the same
place everywhere; who cannot do it halts in front of it and goes on under a program that can."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from fabric.store.command_entry import encode_command_entry
from fabric.store.errors import HaltedError, RevisionFailedError, SchemaVersionError, SnapshotRefusedError
from fabric.store.program import Program
from fabric.store.row_digest import digest_rows
from fabric.store.row_shape import shapes
from fabric.store.sqlite import open_writer, raw
from fabric.store.voter_tables import VoterTables, check_copy
from proto.commands import Command, encode_command
from proto.commands.log import LevelRaise
from proto.ids import RequestId
from proto.raft import LogEntry
from tests.fixtures.next_program import BASELINE, THREE, TWO, Paint, Scrape, add_colours, next_program
from tests.fixtures.store_world import START_MS
from tests.unit.store.test_voter_tables import NOWHERE, command_entry, logged

Open = Callable[[str, Program], VoterTables]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def opens(name: str, program: Program) -> VoterTables:
            connection = open_writer(tmp_path / f"{name}.sqlite")
            stack.callback(connection.engine.dispose)
            stack.callback(connection.close)
            made = VoterTables(connection, program)
            if made.mark.index == 0 and made.mark != NOWHERE:
                made.found(NOWHERE)
            return made

        yield opens


def entry(index: int, command: Command, request: str = "") -> LogEntry:
    data = encode_command_entry(START_MS, RequestId(request or f"q{index}"), encode_command(command))
    return command_entry(index, data)


def is_raised(tables: VoterTables) -> bool:
    """Whether the revision was done, whatever the position says."""
    return "paints" in {shape.table for shape in shapes(raw(tables._connection))}


def digest(tables: VoterTables) -> bytes:
    return digest_rows(raw(tables._connection))


def close(tables: VoterTables) -> None:
    tables._connection.close()


HISTORY = [
    logged(1),
    logged(2),
    entry(3, TWO.raise_to(2)),
    entry(4, Paint(colour="red", project_id="p2")),
    entry(5, Paint(colour="red")),
    logged(6),
]


def test_a_revision_is_done_by_its_entry_among_others(opened: Open) -> None:
    tables = opened("one", TWO)
    assert (tables.level, is_raised(tables)) == (1, False)
    told = [one and one.outcome.result for one in tables.fold(HISTORY)]
    assert told[2:5] == [{"level": 2}, {"coats": 1}, {"coats": 2}]
    assert (tables.level, tables.mark.index) == (2, 6)
    rows = raw(tables._connection).execute("SELECT project_id, colour FROM projects ORDER BY 1").fetchall()
    assert dict(rows) == {"p-admin": "grey", "p-service": "grey", "p2": "red", "p6": "grey"}
    close(tables)
    again = opened("one", TWO)
    assert (again.level, again.mark.index) == (2, 6)


def test_one_by_one_and_all_at_once_give_the_same_rows(opened: Open) -> None:
    whole, single = opened("whole", TWO), opened("single", THREE)
    whole.fold(HISTORY)
    for each in HISTORY:
        single.fold([each])
    assert digest(whole) == digest(single)


def test_programs_of_two_versions_hold_the_same_rows_until_it_is_raised(opened: Open) -> None:
    old, new = opened("old", BASELINE), opened("new", TWO)
    old.fold(HISTORY)
    new.fold(HISTORY[:2])
    assert digest(old) == digest(new)
    new.fold(HISTORY[2:3])
    assert digest(old) != digest(new)


def test_the_digest_sees_what_only_a_newer_program_knows(opened: Open) -> None:
    one, other = opened("one", TWO), opened("other", TWO)
    one.fold(HISTORY)
    other.fold(HISTORY)
    raw(one._connection).execute("UPDATE paints SET coats = 9")
    assert digest(one) != digest(other)


def test_who_does_not_know_the_level_halts_in_front_of_it_and_goes_on_after_its_upgrade(opened: Open) -> None:
    old = opened("old", BASELINE)
    assert len(old.fold(HISTORY)) == 2
    assert (old.mark.index, old.level) == (2, 1)
    assert "entry 3" in str(old.halt)
    assert "can apply 1 at most" in str(old.halt)
    close(old)
    still = opened("old", BASELINE)  # its start changes nothing
    assert (still.halt, still.fold(HISTORY[2:])) == (None, [])
    assert still.halt is not None
    close(still)
    upgraded, never_behind = opened("old", TWO), opened("new", TWO)
    upgraded.fold(HISTORY[2:])
    never_behind.fold(HISTORY)
    assert digest(upgraded) == digest(never_behind)


def test_another_revision_under_the_same_level_halts(opened: Open) -> None:
    def otherwise(op: Any) -> None:
        add_colours(op)
        op.drop_index("ix_projects_colour", "projects")

    tables = opened("one", next_program(otherwise))
    assert len(tables.fold(HISTORY)) == 2
    assert "another one than the group's" in str(tables.halt)
    assert not is_raised(tables)


def test_what_is_left_of_a_raise_that_was_rejected_is_nothing(opened: Open) -> None:
    """Two leaders asked for it, or one too far."""
    tables = opened("one", THREE)
    outcomes = tables.fold(
        [
            logged(1),
            entry(2, THREE.raise_to(3)),
            entry(3, TWO.raise_to(2), "asked"),
            entry(4, TWO.raise_to(2), "asked by another"),
            entry(5, TWO.raise_to(2), "asked"),
            entry(6, LevelRaise(to=9, digest=b"made up")),
        ]
    )
    told = [one.outcome.rejection and one.outcome.rejection[0] for one in outcomes if one is not None]
    assert told == [None, "conflict", None, "conflict", None, "conflict"]
    assert [one.outcome.replayed for one in outcomes if one is not None][4]
    assert (tables.level, tables.halt) == (2, None)


def test_a_level_may_come_without_a_revision(opened: Open) -> None:
    tables = opened("one", THREE)
    tables.fold([*HISTORY, entry(7, THREE.raise_to(3)), entry(8, Scrape(colour="red"))])
    assert (tables.level, tables.mark.index) == (3, 8)


@pytest.mark.parametrize("steps", range(3))
def test_a_crash_in_the_middle_of_a_revision_leaves_nothing_of_it(opened: Open, steps: int) -> None:
    """Whatever part was done when the process died, the next life does all of it."""

    class PowerLostError(BaseException):
        pass

    def dies(op: Any) -> None:
        left = steps

        def until_power_is_lost(do: Callable[..., Any]) -> Callable[..., Any]:
            def doing(*args: Any, **kwargs: Any) -> None:
                nonlocal left
                if left == 0 and not op.get_context().as_sql:
                    raise PowerLostError
                left -= 1
                do(*args, **kwargs)

            return doing

        class Op:
            create_table = until_power_is_lost(op.create_table)
            add_column = until_power_is_lost(op.add_column)
            create_index = until_power_is_lost(op.create_index)

        add_colours(Op)  # type: ignore[arg-type]

    dying = opened("one", next_program(dies))
    with pytest.raises(PowerLostError):
        dying.fold(HISTORY)
    close(dying)
    again, whole = opened("one", TWO), opened("whole", TWO)
    assert (again.level, again.mark.index, is_raised(again)) == (1, 2, False)
    again.fold(HISTORY[2:])
    whole.fold(HISTORY)
    assert digest(again) == digest(whole)


def test_a_revision_that_is_wrong_is_undone_and_told(opened: Open) -> None:
    def wrong(op: Any) -> None:
        add_colours(op)
        op.execute("INSERT INTO nowhere VALUES (1)")

    program = next_program(wrong)
    tables = opened("one", program)
    tables.fold(HISTORY[:2])
    with pytest.raises((RevisionFailedError, OperationalError)):
        tables.fold([entry(3, program.raise_to(2))])
    assert (tables.mark.index, is_raised(tables)) == (2, False)


# ---- copies


def copied(tables: VoterTables) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:")
    raw(tables._connection).backup(copy)
    return copy


def test_a_newer_program_takes_a_snapshot_of_the_level_before_and_goes_on(opened: Open) -> None:
    old, new, whole = opened("old", BASELINE), opened("new", TWO), opened("whole", TWO)
    old.fold(HISTORY[:2])
    with closing(copied(old)) as copy:
        new.install(copy, old.mark)
    new.fold(HISTORY[2:])
    whole.fold(HISTORY)
    assert digest(new) == digest(whole)


def test_a_snapshot_of_a_newer_level_halts_and_is_not_put_in(opened: Open) -> None:
    old, new = opened("old", BASELINE), opened("new", TWO)
    old.fold(HISTORY[:1])
    new.fold(HISTORY)
    with closing(copied(new)) as copy:
        with pytest.raises(HaltedError, match="level 2, and this program can apply 1 at most"):
            old.install(copy, new.mark)
        check_copy(copy, new.mark, TWO)
    assert (old.mark.index, is_raised(old)) == (1, False)


def test_a_snapshot_from_before_the_baseline_becomes_it(opened: Open) -> None:
    old, new = opened("old", BASELINE), opened("new", TWO)
    old.fold(HISTORY[:2])
    with closing(copied(old)) as copy:
        copy.execute("ALTER TABLE position DROP COLUMN level")
        copy.execute("UPDATE position SET schema_version = 5")
        copy.commit()
        new.install(copy, old.mark)
        assert digest(new) == digest(old)
        copy.execute("UPDATE position SET schema_version = 3")
        copy.commit()
        with pytest.raises(SnapshotRefusedError, match="schema version 3"):
            new.install(copy, old.mark)


def test_rows_of_a_newer_level_are_not_opened_and_nothing_is_changed(opened: Open) -> None:
    new = opened("one", TWO)
    new.fold(HISTORY)
    before = digest(new)
    close(new)
    with pytest.raises(
        SchemaVersionError, match="level 2, and this program can apply 1 at most: run a newer"
    ):
        opened("one", BASELINE)
    assert digest(opened("one", TWO)) == before

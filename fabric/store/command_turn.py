"""One turn at the shared rows: every command that waits in this process, in one SERIALIZABLE transaction.

As the log writes at once what gathered during the write before, so here: a turn costs a dozen round trips
however many commands it takes along. Each keeps its own savepoint, and gives what it would give alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, select, update

from fabric.errors import CommandRejectedError, FabricError
from fabric.store import role_lease
from fabric.store import tables as t
from fabric.store.abilities import TAKE_TURN, Abilities
from fabric.store.apply import Entry, Outcome, apply_group
from fabric.store.errors import StoreFailedError, StoreStoppedError
from fabric.store.framing import hash_bytes
from fabric.store.held_lease import HeldLease
from fabric.store.program import Program, need_level
from fabric.store.role_lease import Now
from fabric.store.shared_feed import FeedRow, write_feed
from proto.commands import Command
from proto.commands.log import LevelRaise
from proto.ids import LogIndex, RequestId

COMMANDS_MAX = 64  # of one turn: others wait for theirs meanwhile
BYTES_MAX = 1 << 20
_LEVEL = select(t.position.c.level)


@dataclass(frozen=True, slots=True, eq=False)
class Waiting:
    """A command on its way. `until`: seconds, by the monotonic clock, when nobody waits for it any more."""

    command: Command
    body: bytes  # what it was decoded from
    request_id: RequestId
    lease: HeldLease | None  # under which it is proposed
    until: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What became of each, None: its lease is not held any more; an error: the fabric's `level` does not have
    it, or not for this program. Nothing is to be kept of one that is not `is_done`: all was done before."""

    outcomes: tuple[Outcome | FabricError | None, ...]
    is_done: bool
    level: int


def take_turn(
    connection: Connection,
    waiting: Sequence[Waiting],
    program: Program,
    abilities: Abilities,
    now: Now,
    tag: str,
) -> Turn:
    """Inside the caller's transaction, which begins with it. `tag` signs the notification."""
    if abilities.can_lock_tables:
        connection.execute(TAKE_TURN)
    leases = {one.lease for one in waiting if one.lease is not None}
    lost = {lease for lease in leases if not role_lease.is_held(connection, lease)}
    level = int(connection.execute(_LEVEL).scalar_one())
    refused = {
        one: error
        for one in waiting
        if one.lease not in lost and (error := _refusal(one.command, program, level)) is not None
    }
    allowed = [one for one in waiting if one.lease not in lost and one not in refused]
    outcomes = iter(_apply(connection, allowed, program, level, abilities, now, tag) if allowed else ())
    told = tuple(
        None if one.lease in lost else refused[one] if one in refused else next(outcomes) for one in waiting
    )
    is_done = any(isinstance(outcome, Outcome) and not outcome.replayed for outcome in told)
    raised = [
        one.command.to
        for one, outcome in zip(waiting, told, strict=True)
        if isinstance(one.command, LevelRaise) and isinstance(outcome, Outcome) and not outcome.rejection
    ]
    return Turn(told, is_done, max([level, *raised]))


def _refusal(command: Command, program: Program, level: int) -> FabricError | None:
    """Another process may have raised the level. Nothing was done."""
    cannot = program.cannot_run_at(level)
    if cannot:
        return StoreStoppedError(f"the database is at {cannot}")
    if program.cannot(command, level):
        return StoreStoppedError(f"not raised: {program.cannot(command, level)}")
    try:
        need_level(command, level)
    except CommandRejectedError as error:
        return error
    return None


def _apply(
    connection: Connection,
    waiting: Sequence[Waiting],
    program: Program,
    level: int,
    abilities: Abilities,
    now: Now,
    tag: str,
) -> list[Outcome]:
    last, time_ms = _take_indices(connection, len(waiting), now)
    first = last - len(waiting) + 1
    entries = [
        Entry(LogIndex(first + at), time_ms, one.request_id, hash_bytes(one.body), one.command)
        for at, one in enumerate(waiting)
    ]
    outcomes = apply_group(connection, entries, program.handlers, level=level)
    rows = [
        FeedRow(entry.index, b"", {})
        if outcome.replayed or outcome.rejection
        else FeedRow(entry.index, one.body, outcome.result)
        for one, entry, outcome in zip(waiting, entries, outcomes, strict=True)
    ]
    write_feed(connection, rows, f"{last} {tag}" if abilities.can_notify else None)
    return outcomes


def _take_indices(connection: Connection, count: int, now: Now) -> tuple[int, int]:
    """The last of as many as are asked for, and their time."""
    p = t.position.c
    row = connection.execute(
        update(t.position)
        .values(applied_index=p.applied_index + count, time_ms=func.greatest(p.time_ms, now))
        .returning(p.applied_index, p.time_ms)
    ).one()
    return int(row.applied_index), int(row.time_ms)


def in_doubt(turn: Turn) -> Turn:
    """Of a turn whose earlier attempt may have been committed: what it finds done was its own, and what is
    refused now was not then, perhaps."""
    return replace(turn, outcomes=tuple(map(_in_doubt, turn.outcomes)))


def _in_doubt(outcome: Outcome | FabricError | None) -> Outcome | FabricError | None:
    if isinstance(outcome, FabricError):
        return StoreFailedError(f"{outcome}; it may have been done")
    return None if outcome is None else replace(outcome, replayed=False)

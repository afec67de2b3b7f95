"""One turn at the shared rows: every command that waits in this process, in one SERIALIZABLE transaction.

As the log writes at once what gathered during the write before, so here: a turn costs a dozen round trips
however many commands it takes along. Each keeps its own savepoint, and gives what it would give alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, func, update

from fabric.store import role_lease
from fabric.store import tables as t
from fabric.store.abilities import TAKE_TURN, Abilities
from fabric.store.apply import Entry, Outcome, apply_group
from fabric.store.framing import hash_bytes
from fabric.store.held_lease import HeldLease
from fabric.store.role_lease import Now
from fabric.store.shared_feed import FeedRow, write_feed
from proto.commands import Command
from proto.ids import LogIndex, RequestId

COMMANDS_MAX = 64  # of one turn: others wait for theirs meanwhile
BYTES_MAX = 1 << 20


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
    """What became of each, None: its lease is not held any more. Nothing is to be kept of a turn that is not
    `is_done`: all was done before."""

    outcomes: tuple[Outcome | None, ...]
    is_done: bool


def take_turn(
    connection: Connection, waiting: Sequence[Waiting], abilities: Abilities, now: Now, tag: str
) -> Turn:
    """Inside the caller's transaction, which begins with it. `tag` signs the notification."""
    if abilities.can_lock_tables:
        connection.execute(TAKE_TURN)
    leases = {one.lease for one in waiting if one.lease is not None}
    lost = {lease for lease in leases if not role_lease.is_held(connection, lease)}
    allowed = [one for one in waiting if one.lease not in lost]
    outcomes = iter(_apply(connection, allowed, abilities, now, tag) if allowed else ())
    told = tuple(None if one.lease in lost else next(outcomes) for one in waiting)
    return Turn(told, any(outcome is not None and not outcome.replayed for outcome in told))


def _apply(
    connection: Connection, waiting: Sequence[Waiting], abilities: Abilities, now: Now, tag: str
) -> list[Outcome]:
    last, time_ms = _take_indices(connection, len(waiting), now)
    first = last - len(waiting) + 1
    entries = [
        Entry(LogIndex(first + at), time_ms, one.request_id, hash_bytes(one.body), one.command)
        for at, one in enumerate(waiting)
    ]
    outcomes = apply_group(connection, entries)
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


def not_replayed(turn: Turn) -> Turn:
    """Of a turn whose earlier attempt may have been committed: what it finds done was its own."""
    outcomes = (None if outcome is None else replace(outcome, replayed=False) for outcome in turn.outcomes)
    return Turn(tuple(outcomes), turn.is_done)

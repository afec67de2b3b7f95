"""Entries into rows: dedupe, savepoint, handler, books. The same on both engines.

The caller opens the transaction, calls `apply_group` with entries in log order, writes the position
(`advance`) in the same transaction and commits. A group gives what its entries would give one by one;
only the books (request rows, audit trail) are read and written once for all: a third of the cost.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import DataError, IntegrityError

from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, single
from fabric.store.apply.registry import registered
from proto.commands import Command
from proto.ids import LogIndex, RequestId

log = logging.getLogger(__name__)

REQUEST_KEPT_MS = 24 * 3_600_000  # design/log.md section 4, guarantee 3
PRUNE_EVERY = 256  # entries: how often request rows past REQUEST_KEPT_MS are deleted
IDS_MAX = 500  # of one IN list
INT_MAX = 2**63 - 1

_REQUEST = single(select(t.requests).where(t.requests.c.request_id == bindparam("request_id")))
_REQUESTS = (
    select(t.requests)
    .where(t.requests.c.request_id.in_(bindparam("request_ids", expanding=True)))
    .order_by(t.requests.c.request_id)
)
_INSERT_REQUEST = insert(t.requests)
_INSERT_AUDIT = insert(t.audit)
_PRUNE = delete(t.requests).where(t.requests.c.time_ms < bindparam("before_ms"))
_ADVANCE = update(t.position)


@dataclass(frozen=True, slots=True)
class Entry:
    index: LogIndex
    time_ms: int
    request_id: RequestId
    body_hash: bytes
    command: Command


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the proposer is told. `rejection` None: accepted with `result`."""

    index: LogIndex  # of the entry that was first applied, for a replay
    result: Result
    rejection: tuple[str, str] | None = None  # reason, message
    replayed: bool = False


def apply_group(connection: Connection, entries: Sequence[Entry]) -> list[Outcome]:
    """Applies entries inside the caller's transaction. A rejection undoes only itself.

    Raises what the database raises when it fails as a whole (disk full, serialization failure, lost
    connection): then nothing of the transaction may be kept.
    """
    seen = _seen_before(connection, [entry.request_id for entry in entries])
    outcomes: list[Outcome] = []
    new_requests: list[dict[str, Any]] = []
    new_audit: list[dict[str, Any]] = []
    for entry in entries:
        known = seen.get(entry.request_id)
        if known is not None:
            outcomes.append(_replay(known, entry))
            continue
        context = ApplyContext(connection, entry.index, entry.time_ms, entry.request_id)
        outcome = _attempt(context, entry)
        request = _request_row(entry, outcome)
        seen[entry.request_id] = request
        new_requests.append(request)
        new_audit.append(_audit_row(context, entry, outcome))
        outcomes.append(outcome)
    if new_requests:
        connection.execute(_INSERT_REQUEST, new_requests)
        connection.execute(_INSERT_AUDIT, new_audit)
    due = [entry for entry in entries if entry.index % PRUNE_EVERY == 0]
    if due:
        connection.execute(_PRUNE, {"before_ms": due[-1].time_ms - REQUEST_KEPT_MS})
    return outcomes


def advance(connection: Connection, *, index: int, term: int, configuration: bytes, time_ms: int) -> None:
    """Records that entries up to `index`, which is of `term`, are applied. Same transaction as the entries.
    `configuration`: of the voters, in force at `index`."""
    position = {"applied_index": index, "applied_term": term, "configuration": configuration}
    connection.execute(_ADVANCE, {**position, "time_ms": time_ms})


def _seen_before(connection: Connection, request_ids: Sequence[RequestId]) -> dict[str, Mapping[str, Any]]:
    found: dict[str, Mapping[str, Any]] = {}
    for start in range(0, len(request_ids), IDS_MAX):
        some = request_ids[start : start + IDS_MAX]
        if len(some) == 1:
            rows = connection.execute(_REQUEST, {"request_id": some[0]})
        else:
            rows = connection.execute(_REQUESTS, {"request_ids": some})
        for row in rows:
            found[row.request_id] = dict(row._mapping)
    return found


def _replay(seen: Mapping[str, Any], entry: Entry) -> Outcome:
    if bytes(seen["body_hash"]) != entry.body_hash:
        message = f"Request {entry.request_id} was already used for another command."
        return Outcome(entry.index, {}, ("conflict", message))
    rejection = None if seen["reason"] is None else (seen["reason"], seen["message"])
    return Outcome(LogIndex(seen["log_index"]), seen["result"] or {}, rejection, replayed=True)


def _attempt(context: ApplyContext, entry: Entry) -> Outcome:
    connection = context.connection
    connection.exec_driver_sql("SAVEPOINT entry")
    try:
        _check_values(entry.command)
        result = registered(entry.command.KIND).handler(context, entry.command)
    except CommandRejectedError as error:
        rejection = (error.reason, error.message)
    except IntegrityError as error:
        # Handlers check first; this is the second belt, and as deterministic: constraints are the same.
        log.error(
            "constraint refused a command", extra={"kind": entry.command.KIND, "error": str(error.orig)}
        )
        rejection = ("conflict", "The change collides with one made before it. Nothing was changed.")
    except (DataError, ValueError, TypeError, LookupError, ArithmeticError, AssertionError) as error:
        # A bug of ours, or a value no column takes. Rejecting it is deterministic; halting would let one
        # request stop the fabric again at each restart.
        log.exception("command handler failed", extra={"kind": entry.command.KIND, "error": str(error)[:200]})
        rejection = ("invalid", "The fabric could not apply this change. Nothing was changed.")
    else:
        connection.exec_driver_sql("RELEASE SAVEPOINT entry")
        return Outcome(entry.index, result)
    connection.exec_driver_sql("ROLLBACK TO SAVEPOINT entry")
    connection.exec_driver_sql("RELEASE SAVEPOINT entry")
    return Outcome(entry.index, {}, rejection)


def _request_row(entry: Entry, outcome: Outcome) -> dict[str, Any]:
    reason, message = outcome.rejection or (None, None)
    return {
        "request_id": entry.request_id,
        "body_hash": entry.body_hash,
        "log_index": entry.index,
        "time_ms": entry.time_ms,
        "result": None if outcome.rejection else dict(outcome.result),
        "reason": reason,
        "message": message,
    }


def _audit_row(context: ApplyContext, entry: Entry, outcome: Outcome) -> dict[str, Any]:
    command = entry.command
    return {
        "log_index": entry.index,
        "time_ms": entry.time_ms,
        "project_id": context.project_id or getattr(command, "project_id", None),
        "object_id": registered(command.KIND).object_of(command),
        "kind": command.KIND,
        "request_id": entry.request_id,
        "outcome": outcome.rejection[0] if outcome.rejection else "accepted",
    }


def _check_values(value: Any) -> None:
    """Rejects what one of the engines cannot store: NUL in text, integers beyond 64 bits."""
    if isinstance(value, str):
        if "\0" in value:
            raise CommandRejectedError("invalid", "Text must not contain NUL characters.")
    elif isinstance(value, int):
        if not -INT_MAX <= value <= INT_MAX:
            raise CommandRejectedError("invalid", f"The number {value} is out of range.")
    elif isinstance(value, tuple | list):
        for item in value:
            _check_values(item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _check_values(key)
            _check_values(item)
    elif hasattr(value, "__dataclass_fields__"):
        for name in value.__dataclass_fields__:
            _check_values(getattr(value, name))

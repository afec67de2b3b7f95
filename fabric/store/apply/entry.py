"""Entries into rows: dedupe, savepoint, handler, books. The same on both engines.

The caller opens the transaction, calls `apply_group` with entries in log order, writes the position
(`advance`) in the same transaction and commits. A group gives what its entries would give one by one;
only the books (request rows, audit trail) are read and written once for all: a third of the cost.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, insert, select, update
from sqlalchemy.exc import DataError, IntegrityError

from fabric.errors import CommandRejectedError
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, single
from fabric.store.apply.registry import Handlers, all_handlers
from fabric.store.apply.rows import GroupRows
from fabric.store.apply.values import check_values
from fabric.store.prepared import Params, prepared
from proto.commands import Command
from proto.ids import LogIndex, RequestId

log = logging.getLogger(__name__)

REQUEST_KEPT_MS = 24 * 3_600_000  # design/log.md section 4, guarantee 3
PRUNE_EVERY = 256  # entries: how often request rows past REQUEST_KEPT_MS are deleted

_REQUEST = prepared(single(select(t.requests).where(t.requests.c.request_id == bindparam("request_id"))))
_INSERT_REQUEST = prepared(insert(t.requests))
_INSERT_AUDIT = prepared(insert(t.audit))
_PRUNE = prepared(delete(t.requests).where(t.requests.c.time_ms < bindparam("before_ms")))
_LEVEL = prepared(single(select(t.position.c.level)))
_ADVANCE = prepared(update(t.position))


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


def apply_group(
    connection: Connection,
    entries: Sequence[Entry],
    handlers: Handlers | None = None,
    *,
    level: int | None = None,
) -> list[Outcome]:
    """Applies entries inside the caller's transaction. A rejection undoes only itself. `handlers`: the
    program's, when it is not the product's own. `level`: of the rows, None when the caller does not know it.

    Raises what the database raises when it fails as a whole (disk full, serialization failure, lost
    connection): then nothing of the transaction may be kept.
    """
    handlers = all_handlers() if handlers is None else handlers
    rows = GroupRows(connection)
    level = rows.select(_LEVEL, {})[0].level if level is None else level
    seen: dict[RequestId, Params] = {}
    outcomes: list[Outcome] = []
    new_requests: list[Params] = []
    new_audit: list[Params] = []
    for entry in entries:
        known = seen.get(entry.request_id) or _asked_before(rows, entry.request_id)
        if known is not None:
            outcomes.append(_replay(known, entry))
            continue
        context = ApplyContext(rows, entry.index, entry.time_ms, entry.request_id, level)
        outcome = _attempt(context, entry, handlers)
        request = _request_row(entry, outcome)
        seen[entry.request_id] = request
        new_requests.append(request)
        new_audit.append(_audit_row(context, entry, outcome, handlers))
        outcomes.append(outcome)
    if new_requests:
        rows.write(_INSERT_REQUEST, new_requests)
        rows.write(_INSERT_AUDIT, new_audit)
    due = [entry for entry in entries if entry.index % PRUNE_EVERY == 0]
    if due:
        rows.write(_PRUNE, {"before_ms": due[-1].time_ms - REQUEST_KEPT_MS})
    return outcomes


def advance(connection: Connection, *, index: int, term: int, configuration: bytes, time_ms: int) -> None:
    """Records that entries up to `index`, which is of `term`, are applied. Same transaction as the entries.
    `configuration`: of the voters, in force at `index`."""
    position = {"applied_index": index, "applied_term": term, "configuration": configuration}
    GroupRows(connection).write(_ADVANCE, {**position, "time_ms": time_ms})


def _asked_before(rows: GroupRows, request_id: RequestId) -> Params | None:
    found = rows.select(_REQUEST, {"request_id": request_id})
    return found[0]._asdict() if found else None


def _replay(seen: Params, entry: Entry) -> Outcome:
    if bytes(seen["body_hash"]) != entry.body_hash:
        message = f"Request {entry.request_id} was already used for another command."
        return Outcome(entry.index, {}, ("conflict", message))
    rejection = None if seen["reason"] is None else (seen["reason"], seen["message"])
    return Outcome(LogIndex(seen["log_index"]), seen["result"] or {}, rejection, replayed=True)


def _attempt(context: ApplyContext, entry: Entry, handlers: Handlers) -> Outcome:
    rows = context.rows_of_group
    rows.begin_entry()
    try:
        check_values(entry.command)
        result = handlers[entry.command.KIND].handler(context, entry.command)
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
        rows.keep_entry()
        return Outcome(entry.index, result)
    rows.undo_entry()
    return Outcome(entry.index, {}, rejection)


def _request_row(entry: Entry, outcome: Outcome) -> Params:
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


def _audit_row(context: ApplyContext, entry: Entry, outcome: Outcome, handlers: Handlers) -> Params:
    command = entry.command
    return {
        "log_index": entry.index,
        "time_ms": entry.time_ms,
        "project_id": context.project_id or getattr(command, "project_id", None),
        "object_id": handlers[command.KIND].object_of(command),
        "kind": command.KIND,
        "request_id": entry.request_id,
        "outcome": outcome.rejection[0] if outcome.rejection else "accepted",
    }

"""The store's own books: where it is in the log, what was answered, who did what."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, LargeBinary, Table

from fabric.store.tables.base import INT, TEXT, JsonText, metadata

position = Table(  # one row; written in the same transaction as what the entries did
    "position",
    metadata,
    Column("id", INT, primary_key=True, autoincrement=False),
    Column("schema_version", INT, nullable=False),
    Column("applied_index", INT, nullable=False),
    Column("applied_hash", LargeBinary, nullable=False),  # of that entry's log record; empty without a log
    Column("applied_term", INT, nullable=False),  # of that entry; 0 without voters
    Column("configuration", LargeBinary, nullable=False),  # of the voters, at that entry; empty without any
    Column("time_ms", INT, nullable=False),  # its stamp; stamps never go back
    Column("level", INT, nullable=False),  # of the group, and so which revisions the rows have had
    CheckConstraint("id = 1", name="one_row"),
)

requests = Table(  # exactly-once: what each request id was answered, kept REQUEST_KEPT_MS of log time
    "requests",
    metadata,
    Column("request_id", TEXT, primary_key=True),
    Column("body_hash", LargeBinary, nullable=False),
    Column("log_index", INT, nullable=False),
    Column("time_ms", INT, nullable=False, index=True),
    Column("result", JsonText, nullable=True),  # None: rejected
    Column("reason", TEXT, nullable=True),
    Column("message", TEXT, nullable=True),
)

audit = Table(  # append-only; no payload, so it outlives what it speaks of without leaking it
    "audit",
    metadata,
    Column("log_index", INT, primary_key=True, autoincrement=False),
    Column("time_ms", INT, nullable=False),
    Column("project_id", TEXT, nullable=True),
    Column("object_id", TEXT, nullable=True),
    Column("kind", TEXT, nullable=False),
    Column("request_id", TEXT, nullable=False),
    Column("outcome", TEXT, nullable=False),  # "accepted" or the reason of the rejection
)

counters = Table(  # small numbers that are never given twice
    "counters",
    metadata,
    Column("name", TEXT, primary_key=True),
    Column("value", INT, nullable=False),
)

"""The feed: what was applied, for agents that did not propose it. Written in the command's own transaction.

Kept for the last FEED_ENTRIES; who was away for longer passes over what it missed, as a voter does that got a
snapshot, and whoever listens looks at the rows by itself from time to time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, delete, func, insert, literal, select

from fabric.store import tables as t
from proto.ids import LogIndex

FEED_ENTRIES = 8_192
PRUNE_EVERY = 256
PAGE = 512
CHANNEL = "fabric_feed"

_INSERT = insert(t.feed)
_NOTIFY = select(func.pg_notify(literal(CHANNEL, literal_execute=True), bindparam("word")))
_PRUNE = delete(t.feed).where(t.feed.c.log_index <= bindparam("upto"))
_PAGE = (
    select(t.feed)
    .where(t.feed.c.log_index > bindparam("after"))
    .order_by(t.feed.c.log_index)
    .limit(bindparam("page"))
)


@dataclass(frozen=True, slots=True)
class FeedRow:
    index: LogIndex
    body: bytes  # empty: rejected, or done before
    result: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class FeedPage:
    position: LogIndex  # applied up to there
    rows: tuple[FeedRow, ...]  # the next there are, in order; the first of them may be gone from the feed


def write_feed(connection: Connection, rows: Sequence[FeedRow], word: str | None) -> None:
    """`word` is told to whoever listens when the transaction commits; None where the database cannot."""
    values = [
        {"log_index": row.index, "body": row.body, "result": dict(row.result) if row.body else None}
        for row in rows
    ]
    connection.execute(_INSERT, values)
    if word is not None:
        connection.execute(_NOTIFY, {"word": word})
    first, last = rows[0].index, rows[-1].index
    if first // PRUNE_EVERY != last // PRUNE_EVERY or first % PRUNE_EVERY == 0:
        connection.execute(_PRUNE, {"upto": last - FEED_ENTRIES})


def read_feed(connection: Connection, after: LogIndex) -> FeedPage:
    """What follows `after`, in one snapshot with the position."""
    position = read_position(connection)
    rows = connection.execute(_PAGE, {"after": after, "page": PAGE})
    found = tuple(FeedRow(LogIndex(row.log_index), bytes(row.body), row.result or {}) for row in rows)
    return FeedPage(position, found)


def read_position(connection: Connection) -> LogIndex:
    return LogIndex(connection.execute(select(t.position.c.applied_index)).scalar_one())

"""What a database can do beyond SQL transactions: PostgreSQL both, CockroachDB neither."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, TextClause, text
from sqlalchemy.exc import DBAPIError

from fabric.store import tables as t
from fabric.store.database import Trouble, trouble_of

IN_USE = "55P03"  # lock not available


@dataclass(frozen=True, slots=True)
class Abilities:
    can_notify: bool  # tells other sessions at commit
    can_lock_tables: bool  # before a transaction's snapshot is taken


# Locks nothing out but its like: readers go on.
TAKE_TURN = text(f"LOCK TABLE {t.position.name} IN SHARE ROW EXCLUSIVE MODE")
_TRY_TURN = text(f"{TAKE_TURN.text} NOWAIT")
_TRY_NOTIFY = text("SELECT pg_notify('fabric_nobody', '')")


def abilities_of(engine: Engine) -> Abilities:
    """Asks it. Raises DBAPIError."""
    with engine.connect() as connection:
        return Abilities(
            can_notify=_can(connection, _TRY_NOTIFY), can_lock_tables=_can(connection, _TRY_TURN)
        )


def _can(connection: Connection, statement: TextClause) -> bool:
    try:
        with connection.begin() as transaction:
            connection.execute(statement)
            transaction.rollback()
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == IN_USE:
            return True
        if trouble_of(error) is Trouble.REFUSED:
            return False
        raise
    return True

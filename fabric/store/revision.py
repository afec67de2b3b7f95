"""One step of the rows' shape, written once for both engines in Alembic's operations.

On the embedded engine a revision is done by the log entry that raises the level (`LevelRaise`), in the same
transaction as the position, at the same index on every voter. The entry carries a hash of the SQL that its
proposer rendered; a voter that renders another one halts there instead of making other tables. On a shared
database the conductor's entry does the same, once for all.

Operations are driven without Alembic's environment, command line and version table: the level in the position
row says which revisions the rows have had, and two voters in one process must not meet in a global `op`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from fabric.store.errors import RevisionFailedError

if TYPE_CHECKING:
    from alembic.operations import Operations


@dataclass(frozen=True, slots=True)
class Revision:
    """`upgrade` says what to do to tables of the level before, in operations alone: it reads no rows, no
    clock and no table definitions of ours, which may have moved on since."""

    revision_id: str  # "0002_server_color": the level it leads to, and what it is about
    upgrade: Callable[[Operations], None]

    def run(self, connection: Connection) -> None:
        """In the caller's transaction, which undoes all of it when it fails. Raises SQLAlchemyError,
        RevisionFailedError."""
        from alembic.migration import MigrationContext
        from alembic.operations import Operations

        try:
            self.upgrade(Operations(MigrationContext.configure(connection)))
        except SQLAlchemyError:
            raise
        except Exception as error:  # never taken for a rejection, which might be one voter's alone
            raise RevisionFailedError(f"revision {self.revision_id}: {error}") from error

    def rendered(self, dialect: str = "sqlite") -> str:
        """Its SQL, as text."""
        return _render(self, dialect)

    @property
    def digest(self) -> bytes:
        """Of its SQL as SQLite gets it, on either engine: what voters compare before they do it."""
        return sha256(self.rendered().encode()).digest()


@cache
def _render(revision: Revision, dialect: str) -> str:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations

    out = io.StringIO()
    context = MigrationContext.configure(
        dialect_name=dialect, opts={"as_sql": True, "output_buffer": out, "literal_binds": True}
    )
    revision.upgrade(Operations(context))
    return " ".join(out.getvalue().split())  # layout is Alembic's own, and no part of what is done

"""What a handler is given, and the few ways it may touch rows.

Handlers are folds: the same rows and the same entry give the same rows and the same answer, on every
voter and in every replay. They draw nothing and ask nobody; the only time is the entry's stamp.
`tests/tidy/test_determinism.py` holds them to it: a `select` has an order, or is wrapped in `single`
because it can give one row at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn

from sqlalchemy import Connection, Executable, Row, Select

from fabric.errors import CommandRejectedError
from proto.ids import LogIndex, RequestId

Result = Mapping[str, object]
Params = Mapping[str, Any]
if TYPE_CHECKING:  # of any number of columns
    AnySelect = Select[*tuple[Any, ...]]
    AnyRow = Row[*tuple[Any, ...]]
else:
    AnySelect, AnyRow = Select, Row


@dataclass(slots=True)
class ApplyContext:
    """One entry being applied, inside its savepoint."""

    connection: Connection
    index: LogIndex
    time_ms: int  # leader's stamp, never goes back
    request_id: RequestId
    project_id: str | None = field(default=None)  # for the audit trail; handlers that load it note it

    def row(self, statement: AnySelect, params: Params | None = None) -> AnyRow | None:
        """The one row of a `single` statement, or None."""
        return self.connection.execute(statement, params).first()

    def exists(self, statement: AnySelect, params: Params | None = None) -> bool:
        return self.connection.execute(statement, params).first() is not None

    def number(self, statement: AnySelect, params: Params | None = None) -> int:
        """The one number of a `single` statement over an aggregate; 0 for an empty sum."""
        return int(self.connection.execute(statement, params).scalar_one() or 0)

    def rows(self, statement: AnySelect, params: Params | None = None) -> list[AnyRow]:
        """All rows of an ordered statement."""
        return list(self.connection.execute(statement, params))

    def write(self, statement: Executable, params: Params | list[Params] | None = None) -> int:
        """Runs an insert, update or delete; gives how many rows it touched. An empty list does nothing."""
        if params == []:
            return 0
        return self.connection.execute(statement, params).rowcount


def single(statement: AnySelect) -> AnySelect:
    """Marks a select that gives at most one row: by a unique key, or an aggregate. It needs no order."""
    return statement


def reject(reason: str, message: str) -> NoReturn:
    """Raises CommandRejectedError. `message` is read by end users."""
    raise CommandRejectedError(reason, message)

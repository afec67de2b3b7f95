"""What a handler is given, and the few ways it may touch rows.

Handlers are folds: the same rows and the same entry give the same rows and the same answer, on every
voter and in every replay. They draw nothing and ask nobody; the only time is the entry's stamp.
`tests/tidy/test_determinism.py` holds them to it: a `select` has an order, or is wrapped in `single`
because it can give one row at most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from sqlalchemy import Connection
from sqlalchemy.sql.dml import UpdateBase

from fabric.errors import CommandRejectedError
from fabric.store.apply.rows import GroupRows
from fabric.store.prepared import AnyRow, AnySelect, Params, Prepared
from proto.ids import LogIndex, RequestId

Result = Mapping[str, object]
NONE: Params = {}


@dataclass(slots=True)
class ApplyContext:
    """One entry being applied. What it writes is kept or undone as a whole."""

    rows_of_group: GroupRows
    index: LogIndex
    time_ms: int  # leader's stamp, never goes back
    request_id: RequestId
    level: int  # of the rows
    project_id: str | None = field(default=None)  # for the audit trail; handlers that load it note it

    @property
    def connection(self) -> Connection:
        """For what no method here does. Ask for it each time."""
        return self.rows_of_group.connection

    def row(self, statement: AnySelect | Prepared, params: Params = NONE) -> AnyRow | None:
        """The one row of a `single` statement, or None."""
        rows = self.rows_of_group.select(statement, params)
        return rows[0] if rows else None

    def exists(self, statement: AnySelect | Prepared, params: Params = NONE) -> bool:
        return bool(self.rows_of_group.select(statement, params))

    def number(self, statement: AnySelect | Prepared, params: Params = NONE) -> int:
        """The one number of a `single` statement over an aggregate; 0 for an empty sum."""
        ((number,),) = self.rows_of_group.select(statement, params)
        return int(number or 0)

    def rows(self, statement: AnySelect | Prepared, params: Params = NONE) -> Sequence[AnyRow]:
        """All rows of an ordered statement."""
        return self.rows_of_group.select(statement, params)

    def is_at(self, level: int) -> bool:
        """Whether the rows are at that level, and so have its tables. What a level-1 command does there is
        decided by rows alone, as everything is: whoever folds knows their level from them."""
        return self.level >= level

    def write(self, statement: UpdateBase | Prepared, params: Params | list[Params] = NONE) -> int:
        """Runs an insert, update or delete; gives how many rows it touched. An empty list does nothing."""
        if params == []:
            return 0
        return self.rows_of_group.write(statement, params)


def single(statement: AnySelect) -> AnySelect:
    """Marks a select that gives at most one row: by a unique key, or an aggregate. It needs no order."""
    return statement


def reject(reason: str, message: str) -> NoReturn:
    """Raises CommandRejectedError. `message` is read by end users."""
    raise CommandRejectedError(reason, message)

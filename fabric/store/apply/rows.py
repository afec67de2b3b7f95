"""The rows as one group of entries reads and changes them.

What a `kept` statement gave is given again until a write of the group touches one of its tables: nobody else
writes while the group's transaction is open. Undoing an entry forgets all, for what was read meanwhile may
be undone too.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.sql.dml import UpdateBase

from fabric.store.driver import driver_of
from fabric.store.prepared import AnyRow, AnySelect, Params, Prepared, tables_of


class GroupRows:
    """Used inside one transaction. All raise SQLAlchemyError."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._dialect = connection.dialect
        self._driver = driver_of(connection)
        self._kept: dict[Prepared, dict[tuple[object, ...], list[AnyRow]]] = {}
        self._readers: dict[str, list[Prepared]] = {}  # of a table: whose answers are kept
        self._is_in_entry = self._is_saved = False

    @property
    def connection(self) -> Connection:
        """For what no method here does. Whoever takes it may write anything, so ask for it each time."""
        self._save()
        self._forget()
        return self._connection

    def select(self, statement: AnySelect | Prepared, params: Params) -> Sequence[AnyRow]:
        if not isinstance(statement, Prepared):
            return list(self._connection.execute(statement, params or None))
        if not statement.is_kept:
            return self._fetch(statement, params)
        answers = self._kept.get(statement)
        if answers is None:
            answers = self._kept[statement] = {}
            for table in statement.tables:
                self._readers.setdefault(table, []).append(statement)
        key = tuple(params.items())
        rows = answers.get(key)
        if rows is None:
            rows = answers[key] = self._fetch(statement, params)
        return rows

    def write(self, statement: UpdateBase | Prepared, params: Params | list[Params]) -> int:
        """How many rows it touched."""
        self._save()
        if not isinstance(statement, Prepared):
            self._forget_readers(tables_of(statement))
            return self._connection.execute(statement, params or None).rowcount
        self._forget_readers(statement.tables)
        if isinstance(params, list):
            plan = statement.plan(self._dialect, params[0])
            return self._driver.run_many(plan.sql, [plan.bind(one) for one in params])
        plan = statement.plan(self._dialect, params)
        return self._driver.run(plan.sql, plan.bind(params))

    def _fetch(self, statement: Prepared, params: Params) -> list[AnyRow]:
        plan = statement.plan(self._dialect, params)
        row = plan.row
        return [row(values) for values in self._driver.fetch(plan.sql, plan.bind(params))]

    # ---- one entry

    def begin_entry(self) -> None:
        """What is written from here on can be undone, until `keep_entry` or `undo_entry`."""
        assert not self._is_in_entry
        self._is_in_entry = True

    def keep_entry(self) -> None:
        if self._is_saved:
            self._driver.run("RELEASE SAVEPOINT entry", ())
        self._is_in_entry = self._is_saved = False

    def undo_entry(self) -> None:
        if self._is_saved:
            self._driver.run("ROLLBACK TO SAVEPOINT entry", ())
            self._driver.run("RELEASE SAVEPOINT entry", ())
            self._forget()
        self._is_in_entry = self._is_saved = False

    def _save(self) -> None:
        """Before an entry's first write. Most rejections come before it and have nothing to undo."""
        if self._is_in_entry and not self._is_saved:
            self._driver.run("SAVEPOINT entry", ())
            self._is_saved = True

    def _forget_readers(self, tables: frozenset[str]) -> None:
        for table in tables:
            for statement in self._readers.pop(table, ()):
                self._kept.pop(statement, None)

    def _forget(self) -> None:
        self._kept.clear()
        self._readers.clear()

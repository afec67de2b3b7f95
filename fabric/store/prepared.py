"""Statements made ready once: SQL text, the order of the parameters, and what becomes of values.

SQLAlchemy's `execute` costs ten times what SQLite needs for a lookup by key: for each call it finds the
compiled form again, builds a context, a result and its metadata. Here all that is done once for each dialect
and set of parameter names; a call binds values and hands text to the driver. Types are converted by the very
processors that `execute` would use, so rows are the same (`tests/unit/store/test_prepared.py` compares).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Protocol

from sqlalchemy import Dialect, Select, Table
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

Params = Mapping[str, Any]
Values = Sequence[Any] | Mapping[str, Any]  # as the driver wants them: by place or by name
if TYPE_CHECKING:  # of any number of columns
    AnySelect = Select[*tuple[Any, ...]]
else:
    AnySelect = Select

_Process = Callable[[Any], Any]


class AnyRow(Protocol):
    """A row, whoever read it: columns by name and by place."""

    def __getattr__(self, name: str) -> Any: ...

    def __getitem__(self, place: int) -> Any: ...

    def __iter__(self) -> Iterator[Any]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """A statement for one dialect and one set of parameter names."""

    sql: str
    bind: Callable[[Params], Values]
    row: Callable[[Sequence[Any]], AnyRow]  # of a select


class Prepared:
    """A statement whose text depends on nothing but the names of its parameters.

    `is_kept`: what it gives is asked again and again by the entries of a group; see `GroupRows`.
    """

    __slots__ = ("_plans", "is_kept", "statement", "tables")

    def __init__(self, statement: AnySelect | UpdateBase, *, kept: bool = False) -> None:
        self.statement = statement
        self.is_kept = kept
        self.tables = tables_of(statement)
        self._plans: dict[tuple[str, ...], Plan] = {}  # as many as callers give sets of names: few

    def plan(self, dialect: Dialect, names: Iterable[str]) -> Plan:
        """Give `names` in the order in which the parameters are given: the same set in another order is
        only compiled once more."""
        key = (dialect.name, *names)
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = _make_plan(self.statement, dialect, key[1:])
        return plan


def prepared(statement: AnySelect | UpdateBase) -> Prepared:
    return Prepared(statement)


def kept(statement: AnySelect) -> Prepared:
    return Prepared(statement, kept=True)


def tables_of(statement: AnySelect | UpdateBase) -> frozenset[str]:
    """The names of all tables that it reads or writes, in subqueries too."""
    return frozenset(part.name for part in visitors.iterate(statement) if isinstance(part, Table))


def _make_plan(statement: AnySelect | UpdateBase, dialect: Dialect, names: Sequence[str]) -> Plan:
    compiled = statement.compile(dialect=dialect, column_keys=list(names))
    assert isinstance(compiled, SQLCompiler)
    assert not compiled.post_compile_params, "a list of values changes the text from call to call"
    assert not compiled.literal_execute_params
    assert not compiled.effective_returning, "rows of an insert or update are not read here"
    columns = statement.column_descriptions if isinstance(statement, Select) else []
    return Plan(compiled.string, _binder(compiled, dialect, names), _row_maker(columns, dialect))


def _binder(compiled: SQLCompiler, dialect: Dialect, names: Sequence[str]) -> Callable[[Params], Values]:
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    order = compiled.positiontup if compiled.positional else list(binds)
    assert order is not None
    processors = {
        name: process
        for name, bind in binds.items()
        if (process := bind.type.dialect_impl(dialect).bind_processor(dialect)) is not None
    }
    constants = {name: compiled.params[name] for name in order if name not in names}
    missing = [name for name in constants if binds[name].required]
    assert not missing, f"no value for {missing}"
    if not compiled.positional:
        return _by_name(order, constants, processors)
    return _by_place(
        order, constants, [(place, processors[n]) for place, n in enumerate(order) if n in processors]
    )


def _by_name(
    order: Sequence[str], constants: Params, processors: Mapping[str, _Process]
) -> Callable[[Params], Values]:
    def bind(params: Params) -> Values:
        values = {name: constants[name] if name in constants else params[name] for name in order}
        for name, process in processors.items():
            values[name] = process(values[name])
        return values

    return bind


def _by_place(
    order: Sequence[str], constants: Params, processors: Sequence[tuple[int, _Process]]
) -> Callable[[Params], Values]:
    if not order:
        return lambda params: ()
    take = itemgetter(*order) if len(order) > 1 else lambda params: (params[order[0]],)
    if constants:
        return lambda params: _processed(take({**params, **constants}), processors)
    if processors:
        return lambda params: _processed(take(params), processors)
    return take


def _row_maker(columns: Sequence[Any], dialect: Dialect) -> Callable[[Sequence[Any]], AnyRow]:
    # A column whose name no attribute can have is read by its place.
    kind: Any = namedtuple("Row", [column["name"] for column in columns], rename=True)  # type: ignore[misc]
    make: Callable[[Iterable[Any]], Any] = kind._make
    processors = [
        (place, process)
        for place, column in enumerate(columns)
        if (process := column["type"].dialect_impl(dialect).result_processor(dialect, None)) is not None
    ]
    if not processors:
        return make
    return lambda values: make(_processed(values, processors))


def _processed(values: Sequence[Any], processors: Sequence[tuple[int, _Process]]) -> Sequence[Any]:
    changed = list(values)
    for place, process in processors:
        changed[place] = process(changed[place])
    return changed

"""Keyset paging: pages neither skip nor repeat a row while others come and go.

The rows after a marker are those whose sort key is beyond the marker's own, compared column by column,
with the id as last tie-breaker. NULLs sort as the empty value of their column on both engines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, false, func, literal, or_, select

from fabric.core.queries import BadFilterError, MarkerNotFoundError, Page

ROWS_MAX = 100_000  # of one answer, whatever the caller asks
SORT_KEYS_MAX = 8


def paged(
    connection: Connection,
    statement: Select[Any],
    page: Page,
    *,
    base: FromClause,
    keys: Mapping[str, ColumnElement[Any]],
    default: tuple[tuple[str, str], ...],
    identity: ColumnElement[Any],
    visible: ColumnElement[bool] | None = None,
) -> Select[Any]:
    """`statement` ordered, and cut to what follows the marker. The limit is left to the caller when it
    filters further in memory; see `limit_of`. `base` is what the statement selects
    from, `visible` what a marker must satisfy besides existing.

    Raises BadFilterError for an unknown sort key, MarkerNotFoundError.
    """
    order = _order(page.sort or default, keys)
    columns = [(_filled(keys[name], identity), descending) for name, descending in order]
    last_descending = columns[-1][1] if columns else False
    columns.append((identity, last_descending))
    if page.marker is not None:
        named = identity == page.marker if visible is None else and_(identity == page.marker, visible)
        row = connection.execute(select(*(c for c, _ in columns)).select_from(base).where(named)).first()
        if row is None:
            raise MarkerNotFoundError(page.marker)
        values = tuple(row)
        statement = statement.where(_beyond(columns, values))
    return statement.order_by(*(c.desc() if descending else c.asc() for c, descending in columns))


def limit_of(page: Page) -> int:
    return ROWS_MAX if page.limit is None else min(max(page.limit, 0), ROWS_MAX)


def _order(sort: tuple[tuple[str, str], ...], keys: Mapping[str, Any]) -> list[tuple[str, bool]]:
    if len(sort) > SORT_KEYS_MAX:
        raise BadFilterError(f"At most {SORT_KEYS_MAX} sort keys are allowed.")
    order = []
    for name, direction in sort:
        if name not in keys:
            raise BadFilterError(f"Sort key supplied is not valid: {name[:64]}")
        if direction not in ("asc", "desc"):
            raise BadFilterError(f"Unknown sort direction, must be 'asc' or 'desc': {direction[:64]}")
        order.append((name, direction == "desc"))
    return order


def _filled(column: ColumnElement[Any], identity: ColumnElement[Any]) -> ColumnElement[Any]:
    """NULLs get a place in the order that both engines agree on. A column of a joined table may be NULL
    whatever its own definition says."""
    own = getattr(column, "table", None) is getattr(identity, "table", None)
    if own and getattr(column, "nullable", True) is False:
        return column
    return func.coalesce(column, literal(0 if column.type.python_type in (int, bool) else ""))


def _beyond(columns: list[tuple[ColumnElement[Any], bool]], values: tuple[Any, ...]) -> ColumnElement[bool]:
    """(a, b, c) beyond (x, y, z): a beyond x, or a = x and (b beyond y, or ...)."""
    condition: ColumnElement[bool] = false()
    for (column, descending), value in reversed(list(zip(columns, values, strict=True))):
        bound = literal(value, column.type)  # also True and False, which are no operands of < by themselves
        further = column < bound if descending else column > bound
        condition = or_(further, and_(column == bound, condition))
    return condition

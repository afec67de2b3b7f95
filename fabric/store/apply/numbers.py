"""Small numbers for what clients know by one: counted up, never given twice."""

from __future__ import annotations

from sqlalchemy import insert, select, update

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, single


def next_number(context: ApplyContext, name: str) -> int:
    """From 1 on, of the counter of that name."""
    row = context.row(single(select(t.counters.c.value).where(t.counters.c.name == name)))
    if row is None:
        context.write(insert(t.counters), {"name": name, "value": 1})
        return 1
    number = int(row.value) + 1
    context.write(update(t.counters).where(t.counters.c.name == name).values(value=number))
    return number

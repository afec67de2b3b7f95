"""What level 2's tables are said to be is what its revision makes."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from fabric.store import tables as t
from fabric.store.plain_rows import carried_tables
from fabric.store.revisions import REVISIONS
from fabric.store.schema import create_schema
from fabric.store.tables import level2, level3


def _named(found: Any) -> list[tuple[str, tuple[str, ...]]]:
    return sorted((each["name"], tuple(each["column_names"])) for each in found)


def shape(connection: sa.Connection) -> dict[str, Any]:
    seen = sa.inspect(connection)
    return {
        table: {
            "columns": [
                (column["name"], str(column["type"]), column["nullable"])
                for column in seen.get_columns(table)
            ],
            "key": seen.get_pk_constraint(table)["constrained_columns"],
            "unique": sorted(
                (u["name"], tuple(u["column_names"])) for u in seen.get_unique_constraints(table)
            ),
            "indices": sorted((i["name"], tuple(i["column_names"])) for i in seen.get_indexes(table)),
        }
        for table in seen.get_table_names()
    }


def test_the_revision_makes_the_tables_that_are_declared() -> None:
    with sa.create_engine("sqlite://").begin() as revised, sa.create_engine("sqlite://").begin() as declared:
        for connection in (revised, declared):
            create_schema(connection)
        before = shape(revised)
        REVISIONS[level2.LEVEL].run(revised)
        level2.level2_metadata.create_all(declared)
        made, wanted = shape(revised), shape(declared)
        assert made.keys() - before.keys() == level2.level2_metadata.tables.keys()
        made["servers"]["indices"].remove(("ix_servers_otherwise", ("host_id", "server_id")))
        assert made == wanted


def test_what_is_carried_grows_with_the_level() -> None:
    first, second = ({each.name for each in carried_tables(level)} for level in (1, 2))
    assert first == t.metadata.tables.keys() - {"position"}
    assert second - first == level2.level2_metadata.tables.keys()


def test_the_next_revision_makes_what_is_declared_too() -> None:
    with sa.create_engine("sqlite://").begin() as revised, sa.create_engine("sqlite://").begin() as declared:
        REVISIONS[level3.LEVEL].run(revised)
        level3.level3_metadata.create_all(declared)
        assert shape(revised) == shape(declared)
    second, third = ({each.name for each in carried_tables(level)} for level in (2, 3))
    assert third - second == level3.level3_metadata.tables.keys()

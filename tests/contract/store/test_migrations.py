"""Tables of an earlier version are brought up to date, with their rows, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, MetaData, Table, UniqueConstraint, inspect

from fabric.core.nodes.queries import ListJoinTokens, ListNodes, ListRemovedNodes
from fabric.store import tables as t
from fabric.store.errors import SchemaVersionError
from fabric.store.migrations import STEPS
from fabric.store.query import answer
from fabric.store.schema import SCHEMA_VERSION, create_schema
from fabric.store.sqlite import open_writer

NEW_COLUMNS = {
    "nodes": frozenset({"generation", "body", "signature"}),  # in version 2
    "join_tokens": frozenset({"door_public"}),  # in version 3
    "position": frozenset({"applied_term", "configuration", "level"}),  # in versions 4 and 6
}

Columns = dict[str, dict[str, tuple[str, bool]]]


@pytest.fixture
def connection(engine_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Connection]:
    if engine_kind == "sqlite":
        opened = open_writer(tmp_path / "state.db")
    else:
        opened = sqlalchemy.create_engine(request.getfixturevalue("empty_postgres")).connect()
    with opened:
        yield opened
    opened.engine.dispose()


def first_tables(connection: Connection) -> None:
    """The tables as version 1 made them, with one node."""
    old = MetaData(naming_convention=t.metadata.naming_convention)
    for table in t.metadata.sorted_tables:
        if table.name in NEW_COLUMNS:
            kept = [column._copy() for column in table.columns if column.name not in NEW_COLUMNS[table.name]]
            unique = [
                UniqueConstraint(*c.columns.keys())
                for c in table.constraints
                if isinstance(c, UniqueConstraint)
            ]
            Table(table.name, old, *kept, *unique)
        elif table.name not in ("removed_nodes", "voter_wishes"):
            table.to_metadata(old)
    old.create_all(connection)
    first = {"id": 1, "schema_version": 1, "applied_index": 0, "applied_hash": b"", "time_ms": 0}
    connection.execute(old.tables["position"].insert(), first)
    node = {"node_id": "n", "name": "h1", "curve_public": b"key", "certificate": b"cert", "admitted_ms": 5}
    connection.execute(old.tables["nodes"].insert(), node)
    token = {"token_id": "t", "secret_hash": b"h", "expires_ms": 9, "uses_left": 1}
    connection.execute(old.tables["join_tokens"].insert(), token)
    connection.commit()


def shape(connection: Connection) -> Columns:
    """Every column's type and whether NULL is allowed. Defaults may differ: nothing relies on them."""
    found = inspect(connection)

    def type_of(column: Any) -> str:
        return str(column["type"].compile(connection.dialect)).split(" ", maxsplit=1)[0]

    return {
        table: {column["name"]: (type_of(column), column["nullable"]) for column in found.get_columns(table)}
        for table in sorted(found.get_table_names())
    }


def test_old_tables_become_todays_and_keep_their_rows(connection: Connection) -> None:
    first_tables(connection)
    create_schema(connection)
    (node,) = answer(connection, ListNodes())
    assert (node.name, node.generation, node.body, node.signature) == ("h1", 1, b"", b"")
    assert answer(connection, ListRemovedNodes()) == ()
    (token,) = answer(connection, ListJoinTokens())
    assert (token.token_id, token.uses_left, token.door_public) == ("t", 1, b"")
    assert connection.execute(t.position.select()).one().schema_version == SCHEMA_VERSION
    migrated = shape(connection)
    t.metadata.drop_all(connection)
    create_schema(connection)
    assert migrated == shape(connection)


def test_a_step_cut_short_is_done_again(connection: Connection) -> None:
    first_tables(connection)
    create_schema(connection)
    connection.rollback()  # as a crash before the end of the transaction that opens the store
    create_schema(connection)
    assert len(answer(connection, ListNodes())) == 1


@pytest.mark.parametrize("version", [0, SCHEMA_VERSION + 1])
def test_tables_nobody_knows_are_left_alone(connection: Connection, version: int) -> None:
    first_tables(connection)
    connection.execute(t.position.update().values(schema_version=version))
    before = shape(connection)
    with pytest.raises(SchemaVersionError, match=f"version {version}"):
        create_schema(connection)
    assert shape(connection) == before


def test_there_is_a_step_from_every_version() -> None:
    assert set(STEPS) == set(range(1, SCHEMA_VERSION))

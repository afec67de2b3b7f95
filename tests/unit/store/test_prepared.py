"""What runs without SQLAlchemy in between gives and writes what SQLAlchemy would."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, OperationalError

from fabric.store import apply
from fabric.store import tables as t
from fabric.store.apply.context import single
from fabric.store.apply.rows import GroupRows
from fabric.store.prepared import Params, Prepared, kept, prepared, tables_of
from fabric.store.schema import create_schema
from fabric.store.sqlite import opened_writer
from fabric.store.tables.by_level import ADDED

FLAVOR = {
    "flavor_id": "f",
    "name": "f",
    "vcpus": 1,
    "memory_mb": 2,
    "root_gb": 3,
    "ephemeral_gb": 0,
    "swap_mb": 0,
    "is_public": True,
    "description": None,
    "rxtx_factor_milli": 1_000,
    "extra_specs": {"b": "100 %", "a": "é"},
    "created_ms": 2**62,
}
NODE = {
    "node_id": "n",
    "name": "node",
    "curve_public": b"\0\xff",
    "certificate": b"",
    "admitted_ms": 1,
    "generation": 1,
    "body": b"b",
    "signature": b"s",
}
POSTGRES = sqlalchemy.make_url("postgresql+psycopg://").get_dialect()()
BY_ID = prepared(single(select(t.flavors).where(t.flavors.c.flavor_id == bindparam("id"))))
KEPT = kept(single(select(t.flavors).where(t.flavors.c.flavor_id == bindparam("id"))))
INSERT = prepared(insert(t.flavors))
UPDATE = prepared(update(t.flavors).where(t.flavors.c.flavor_id == bindparam("key")))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    """In a transaction, over empty tables of the newest level."""
    with opened_writer(tmp_path / "state.sqlite") as opened:
        with opened.begin():
            create_schema(opened)
            for added in ADDED.values():
                added.create_all(opened)
        with opened.begin():
            yield opened


def of_the_handlers() -> dict[str, Prepared]:
    modules = [
        importlib.import_module(f"{apply.__name__}.{found.name}")
        for found in pkgutil.iter_modules(apply.__path__)
    ]
    return {
        f"{module.__name__}.{name}": value
        for module in modules
        for name, value in vars(module).items()
        if isinstance(value, Prepared)
    }


def test_values_of_every_type_are_written_and_read_as_by_sqlalchemy(connection: Connection) -> None:
    rows = GroupRows(connection)
    rows.write(INSERT, FLAVOR)
    rows.write(prepared(insert(t.nodes)), NODE)
    for table, given in ((t.flavors, FLAVOR), (t.nodes, NODE)):
        (mine,) = rows.select(prepared(select(table).order_by(*table.primary_key)), {})
        theirs = connection.execute(select(table)).one()
        assert list(mine) == list(theirs)
        assert [type(value) for value in mine] == [type(value) for value in theirs]
        assert mine._asdict() == dict(given)
        assert all(getattr(mine, name) == value for name, value in given.items())


@pytest.mark.parametrize("name", sorted(of_the_handlers()))
def test_a_handlers_statement_answers_as_sqlalchemy_does(name: str, connection: Connection) -> None:
    """Each select that there is, where it finds a row and where it finds none."""
    statement = of_the_handlers()[name]
    connection.execute(insert(t.flavors), FLAVOR)
    connection.execute(
        insert(t.projects),
        {
            "project_id": "f",
            "domain_id": "d",
            "name": "n",
            "description": "",
            "enabled": False,
            "created_ms": 1,
        },
    )
    if not isinstance(statement.statement, Select):
        assert statement.tables == {statement.statement.table.name}  # type: ignore[union-attr]
        return
    names = [bind.key for bind in statement.statement.compile().binds.values() if bind.required]
    for value in ("f", "nobody"):
        params: dict[str, Any] = dict.fromkeys(names, value)
        mine = [list(row) for row in GroupRows(connection).select(statement, params)]
        assert mine == [list(row) for row in connection.execute(statement.statement, params)]


def test_there_are_statements_to_compare() -> None:
    assert len(of_the_handlers()) > 25


def test_a_parameter_may_stand_in_several_places_beside_constants(connection: Connection) -> None:
    rows = GroupRows(connection)
    rows.write(INSERT, FLAVOR)
    both = (t.flavors.c.flavor_id == bindparam("id")) & (t.flavors.c.name == bindparam("id"))
    statement = prepared(
        single(select(func.count()).where(both, t.flavors.c.vcpus == 1, t.flavors.c.is_public))
    )
    ((one,),) = rows.select(statement, {"id": "f"})
    ((none,),) = rows.select(statement, {"id": "g"})
    assert (one, none) == (1, 0)


def test_an_update_takes_the_columns_it_is_given(connection: Connection) -> None:
    rows = GroupRows(connection)
    rows.write(INSERT, FLAVOR)
    assert rows.write(UPDATE, {"key": "f", "extra_specs": {}}) == 1
    assert rows.write(UPDATE, {"key": "f", "is_public": False, "description": "d"}) == 1
    assert rows.write(UPDATE, {"key": "nobody", "description": "other"}) == 0
    (row,) = rows.select(BY_ID, {"id": "f"})
    assert row._asdict() == FLAVOR | {"extra_specs": {}, "is_public": False, "description": "d"}


def test_many_are_written_at_once(connection: Connection) -> None:
    many: list[Params] = [FLAVOR | {"flavor_id": f"f{number}", "name": f"f{number}"} for number in range(3)]
    assert GroupRows(connection).write(INSERT, many) == 3
    assert connection.execute(select(func.count()).select_from(t.flavors)).scalar_one() == 3


def test_errors_are_those_of_sqlalchemy_and_tell_no_values(connection: Connection) -> None:
    rows = GroupRows(connection)
    rows.write(INSERT, FLAVOR)
    twice: list[Params] = [FLAVOR | {"flavor_id": "f2", "name": "f2"}, FLAVOR]
    given: Params | list[Params]
    for given in (FLAVOR, twice):
        with pytest.raises(IntegrityError) as caught:
            rows.write(INSERT, given)
        assert "100 %" not in str(caught.value)
    connection.exec_driver_sql("DROP TABLE flavors")
    with pytest.raises(OperationalError):
        rows.select(BY_ID, {"id": "f"})


def test_constants_and_parameters_have_names_where_the_driver_wants_names() -> None:
    statement = prepared(
        single(
            select(t.quota_limits.c.hard_limit).where(t.quota_limits.c.project_id.in_(("", bindparam("id"))))
        )
    )
    plan = statement.plan(POSTGRES, ["id"])
    values = plan.bind({"id": "p"})
    assert isinstance(values, dict)
    assert sorted(values.values()) == ["", "p"]
    assert plan.sql % values  # every place is given a value


def test_a_statement_whose_text_would_change_is_refused() -> None:
    many = prepared(
        single(select(t.flavors).where(t.flavors.c.flavor_id.in_(bindparam("ids", expanding=True))))
    )
    with pytest.raises(AssertionError, match="list of values"):
        many.plan(POSTGRES, ["ids"])
    with pytest.raises(AssertionError, match="no value for"):
        BY_ID.plan(POSTGRES, [])


def test_the_tables_of_a_statement_are_all_it_looks_at() -> None:
    ports = select(func.count()).where(t.ports.c.project_id == "p").scalar_subquery()
    joined = t.servers.join(t.hosts, t.servers.c.host_id == t.hosts.c.host_id)
    assert tables_of(single(select(ports, t.servers.c.name).select_from(joined))) == {
        "ports",
        "servers",
        "hosts",
    }
    assert tables_of(delete(t.nodes).where(select(t.hosts.c.host_id).exists())) == {"nodes", "hosts"}


# ---- what is kept


def vcpus(rows: GroupRows) -> int:
    return int(rows.select(KEPT, {"id": "f"})[0].vcpus)


def behind_their_back(connection: Connection, number: int) -> None:
    """Written so that nobody can know."""
    connection.exec_driver_sql(f"UPDATE flavors SET vcpus = {number}")


@pytest.fixture
def rows(connection: Connection) -> GroupRows:
    """One flavor, known to have one vcpu by now, and in truth 9."""
    made = GroupRows(connection)
    made.write(INSERT, FLAVOR)
    assert vcpus(made) == 1
    behind_their_back(connection, 9)
    return made


def test_what_is_kept_is_not_asked_again(rows: GroupRows) -> None:
    assert vcpus(rows) == 1
    rows.write(prepared(insert(t.nodes)), NODE)  # of another table
    assert vcpus(rows) == 1
    assert rows.select(KEPT, {"id": "nobody"}) == []  # another question


@pytest.mark.parametrize(
    "write",
    [
        lambda rows: rows.write(UPDATE, {"key": "f", "description": "d"}),
        lambda rows: rows.write(INSERT, [FLAVOR | {"flavor_id": "f2", "name": "f2"}]),
        lambda rows: rows.write(update(t.flavors).values(description="d"), {}),
        lambda rows: rows.connection,
    ],
    ids=["prepared", "many", "made on the way", "whoever takes the connection"],
)
def test_a_write_to_its_table_ends_it(rows: GroupRows, write: Any) -> None:
    write(rows)
    assert vcpus(rows) == 9


def test_what_was_read_in_an_entry_that_is_undone_is_forgotten(connection: Connection) -> None:
    rows = GroupRows(connection)
    rows.write(INSERT, FLAVOR)
    rows.begin_entry()
    rows.write(UPDATE, {"key": "f", "vcpus": 5})
    assert vcpus(rows) == 5
    rows.undo_entry()
    assert vcpus(rows) == 1


def test_entries_are_kept_and_undone_one_by_one(connection: Connection) -> None:
    rows = GroupRows(connection)
    rows.write(INSERT, FLAVOR)
    for number, is_kept in ((2, True), (3, False), (4, True), (5, False)):
        rows.begin_entry()
        rows.write(UPDATE, {"key": "f", "vcpus": number})
        if is_kept:
            rows.keep_entry()
        else:
            rows.undo_entry()
        assert vcpus(rows) == (number if is_kept else number - 1)
    rows.begin_entry()
    rows.undo_entry()  # it wrote nothing
    assert vcpus(rows) == 4

"""Flavors and key pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, or_, select

from fabric.core.catalog.model import Flavor, Keypair
from fabric.core.catalog.queries import GetFlavor, GetKeypair, ListFlavors, ListKeypairs
from fabric.core.queries import MarkerNotFoundError
from fabric.store import tables as t
from fabric.store.query.paging import limit_of, paged
from fabric.store.query.patterns import compiled
from fabric.store.query.registry import answers

_FLAVOR = select(t.flavors).where(t.flavors.c.flavor_id == bindparam("id"))
_FLAVOR_KEYS = {
    "flavorid": t.flavors.c.flavor_id,
    "id": t.flavors.c.flavor_id,
    "name": t.flavors.c.name,
    "memory_mb": t.flavors.c.memory_mb,
    "vcpus": t.flavors.c.vcpus,
    "root_gb": t.flavors.c.root_gb,
    "ephemeral_gb": t.flavors.c.ephemeral_gb,
    "swap": t.flavors.c.swap_mb,
    "rxtx_factor": t.flavors.c.rxtx_factor_milli,
    "is_public": t.flavors.c.is_public,
    "created_at": t.flavors.c.created_ms,
}


@answers(GetFlavor)
def get_flavor(connection: Connection, query: GetFlavor) -> Flavor | None:
    rows = connection.execute(_FLAVOR, {"id": query.flavor_id}).all()
    found = _flavors(connection, rows)
    return found[0] if found else None


@answers(ListFlavors)
def list_flavors(connection: Connection, query: ListFlavors) -> tuple[Flavor, ...]:
    c = t.flavors.c
    statement = select(t.flavors)
    if query.visible_to is not None:
        shared = select(t.flavor_access.c.flavor_id).where(t.flavor_access.c.project_id == query.visible_to)
        statement = statement.where(or_(c.is_public, c.flavor_id.in_(shared)))
    if query.is_public is not None:
        statement = statement.where(c.is_public == query.is_public)
    if query.min_disk_gb is not None:
        statement = statement.where(c.root_gb >= query.min_disk_gb)
    if query.min_ram_mb is not None:
        statement = statement.where(c.memory_mb >= query.min_ram_mb)
    statement = paged(
        connection,
        statement,
        query.page,
        base=t.flavors,
        keys=_FLAVOR_KEYS,
        default=(("flavorid", "asc"),),
        identity=c.flavor_id,
    )
    limit, name = limit_of(query.page), compiled(query.name_regex, "name")
    if name is None:
        return _flavors(connection, connection.execute(statement.limit(limit)).all())
    rows = [row for row in connection.execute(statement) if name.search(row.name) is not None]
    return _flavors(connection, rows[:limit])


def _flavors(connection: Connection, rows: Sequence[Row[Any]]) -> tuple[Flavor, ...]:
    access: dict[str, list[Any]] = defaultdict(list)
    private = [row.flavor_id for row in rows if not row.is_public]
    if private:
        c = t.flavor_access.c
        found = select(t.flavor_access).where(c.flavor_id.in_(private)).order_by(c.flavor_id, c.project_id)
        for row in connection.execute(found):
            access[row.flavor_id].append(row.project_id)
    return tuple(
        Flavor(**row._mapping, access_project_ids=tuple(access.get(row.flavor_id, ()))) for row in rows
    )


@answers(GetKeypair)
def get_keypair(connection: Connection, query: GetKeypair) -> Keypair | None:
    c = t.keypairs.c
    statement = select(t.keypairs).where(c.user_id == query.user_id, c.name == query.name)
    row = connection.execute(statement).first()
    return None if row is None else Keypair(**row._mapping)


@answers(ListKeypairs)
def list_keypairs(connection: Connection, query: ListKeypairs) -> tuple[Keypair, ...]:
    c = t.keypairs.c
    statement = select(t.keypairs).where(c.user_id == query.user_id).order_by(c.name)
    marker = query.page.marker
    if marker is not None:
        known = select(c.name).where(c.user_id == query.user_id, c.name == marker)
        if connection.execute(known).first() is None:
            raise MarkerNotFoundError(marker)
        statement = statement.where(c.name > marker)
    rows = connection.execute(statement.limit(limit_of(query.page)))
    return tuple(Keypair(**row._mapping) for row in rows)

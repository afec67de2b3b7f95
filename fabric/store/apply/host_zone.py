"""Which zone a host is in, as a command finds it. What that is, `fabric/store/query/host_zone.py` knows."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, single
from fabric.store.prepared import AnyRow, kept
from fabric.store.query.host_zone import zone_at
from fabric.store.tables import level2

_ZONE = kept(
    single(
        select(zone_at(level2.LEVEL).label("zone"))
        .select_from(t.hosts)
        .where(t.hosts.c.host_id == bindparam("host_id"))
    )
)


def zone_of(context: ApplyContext, host: AnyRow) -> str:
    """`host` is a row of `hosts`."""
    if not context.is_at(level2.LEVEL):
        return str(host.zone)
    row = context.row(_ZONE, {"host_id": host.host_id})
    assert row is not None, host.host_id
    return str(row.zone)

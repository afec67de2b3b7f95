"""Which zone a host is in: its aggregate's, where one has a zone, else the one the host itself names.

The only place that knows. Whoever reads a host's zone selects `zone_at(level)` from a statement over `hosts`.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, select

from fabric.store import tables as t
from fabric.store.tables import level2

_OF_AGGREGATES = (  # one at most has a zone, or several the same: apply sees to it
    select(func.min(level2.aggregates.c.availability_zone))
    .join(level2.aggregate_hosts, level2.aggregate_hosts.c.aggregate_id == level2.aggregates.c.aggregate_id)
    .where(level2.aggregate_hosts.c.host_id == t.hosts.c.host_id)
    .correlate(t.hosts)
    .scalar_subquery()
)
_RESOLVED: ColumnElement[str] = func.coalesce(_OF_AGGREGATES, t.hosts.c.zone)


def zone_at(level: int) -> ColumnElement[str]:
    """Of the host of each row, for rows at that level: below 2 there are no aggregates."""
    return _RESOLVED if level >= level2.LEVEL else t.hosts.c.zone

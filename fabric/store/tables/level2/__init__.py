"""What level 2 adds: everything about where servers may go. Made by `revisions/r0002_placement.py`.

Whoever reads these tables asks first whether the rows are at level 2 (`fabric/store/query/level.py`): a group
is at level 1 for its first moment, and for as long as a voter of the version before is among it. The hot
tables of level 1 have no column more, so that nothing that level 1 does depends on the level.
"""

from fabric.store.tables.level2.aggregates import aggregate_hosts, aggregates
from fabric.store.tables.level2.base import LEVEL, level2_metadata
from fabric.store.tables.level2.builds import failed_builds
from fabric.store.tables.level2.groups import server_group_members, server_groups, server_hints
from fabric.store.tables.level2.limits import (
    limit_descriptions,
    quota_class_limits,
    registered_limits,
    user_quota_limits,
)
from fabric.store.tables.level2.providers import (
    host_offers,
    outside_allocations,
    outside_consumers,
    outside_providers,
    resource_classes,
    traits,
)

__all__ = [
    "LEVEL",
    "aggregate_hosts",
    "aggregates",
    "failed_builds",
    "host_offers",
    "level2_metadata",
    "limit_descriptions",
    "outside_allocations",
    "outside_consumers",
    "outside_providers",
    "quota_class_limits",
    "registered_limits",
    "resource_classes",
    "server_group_members",
    "server_groups",
    "server_hints",
    "traits",
    "user_quota_limits",
]

"""The tables, SQLAlchemy Core, one file for each domain. Types and constraints work on SQLite and PostgreSQL.

There are no foreign keys: every reference is a predicate that `apply` checks, so that a rejection has a
message for its user and both engines refuse alike.
"""

from fabric.store.tables.base import canonical_json, metadata
from fabric.store.tables.catalog import flavor_access, flavors, images, keypairs
from fabric.store.tables.identity import (
    assignments,
    fabric,
    projects,
    quota_limits,
    revoked_tokens,
    roles,
    users,
)
from fabric.store.tables.ledger import audit, counters, position, requests
from fabric.store.tables.networks import (
    fixed_ips,
    networks,
    port_security_groups,
    ports,
    security_groups,
    security_rules,
    subnets,
)
from fabric.store.tables.nodes import hosts, join_tokens, nodes, removed_nodes, role_grants, voter_wishes
from fabric.store.tables.servers import servers
from fabric.store.tables.shared import feed, role_leases, shared_metadata

__all__ = [
    "assignments",
    "audit",
    "canonical_json",
    "counters",
    "fabric",
    "feed",
    "fixed_ips",
    "flavor_access",
    "flavors",
    "hosts",
    "images",
    "join_tokens",
    "keypairs",
    "metadata",
    "networks",
    "nodes",
    "port_security_groups",
    "ports",
    "position",
    "projects",
    "quota_limits",
    "removed_nodes",
    "requests",
    "revoked_tokens",
    "role_grants",
    "role_leases",
    "roles",
    "security_groups",
    "security_rules",
    "servers",
    "shared_metadata",
    "subnets",
    "users",
    "voter_wishes",
]

"""Keystone's unified limits: another dialect for the limits that quota sets speak of.

There is one row for a number: `quota_limits` by owner and resource, where the owner is a project, a domain
or, for defaults, nobody. A registered limit is such a default, a limit such a number of an owner. What the
fabric counts under a name of its own is registered from the start, so every quota that is set is seen as a
limit too; one that somebody registers takes that one's place until it is deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from fabric.core.queries import Query
from fabric.core.quotas.demand import CLASS_PREFIX
from proto.ids import DomainId, ProjectId

MODEL_NAME = "flat"
MODEL_DESCRIPTION = "Each project's limits hold for that project alone; there is no hierarchy."

# A name more here is another level: handlers ask it under which key a number is kept.
_RESOURCE_OF: Mapping[tuple[str, str], str] = {
    ("compute", "servers"): "instances",
    ("compute", "class:VCPU"): "cores",
    ("compute", "class:MEMORY_MB"): "ram",
    ("compute", "server_key_pairs"): "key_pairs",
    ("compute", "server_metadata_items"): "metadata_items",
    ("compute", "server_groups"): "server_groups",
    ("compute", "server_group_members"): "server_group_members",
    ("compute", "server_injected_files"): "injected_files",
    ("compute", "server_injected_file_content_bytes"): "injected_file_content_bytes",
    ("compute", "server_injected_file_path_bytes"): "injected_file_path_bytes",
    ("network", "network"): "network",
    ("network", "subnet"): "subnet",
    ("network", "port"): "port",
    ("network", "security_group"): "security_group",
    ("network", "security_group_rule"): "security_group_rule",
}
_NAME_OF = {resource: name for name, resource in _RESOURCE_OF.items()}

BUILT_IN = tuple(_NAME_OF)  # resources that are always registered


def resource_of(service_type: str, resource_name: str) -> str:
    """The key of its numbers: the name in quota sets where it has one, a resource class as it is, anything
    else with its service, for nobody but that service counts it."""
    known = _RESOURCE_OF.get((service_type, resource_name))
    if known is not None:
        return known
    if service_type == "compute" and resource_name.startswith(CLASS_PREFIX):
        return resource_name
    return f"{service_type}:{resource_name}"


def name_of(resource: str) -> tuple[str, str]:
    """(service type, resource name) of a key. `resource_of` the other way round."""
    known = _NAME_OF.get(resource)
    if known is not None:
        return known
    if resource.startswith(CLASS_PREFIX):
        return "compute", resource
    service_type, _, resource_name = resource.partition(":")
    return service_type, resource_name


def built_in_id(resource: str) -> str:
    """Of what is registered from the start: the same on every node."""
    return _id_of("registered", resource)


def limit_id(owner_id: str, resource: str) -> str:
    """A limit has no other identity than whose and of what it is."""
    return _id_of("limit", owner_id, resource)


def _id_of(*parts: str) -> str:
    return sha256("/".join(parts).encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredLimit:
    limit_id: str
    service_type: str
    resource_name: str
    region_id: str | None
    default_limit: int
    description: str | None

    @property
    def resource(self) -> str:
        return resource_of(self.service_type, self.resource_name)

    @property
    def is_built_in(self) -> bool:
        return self.limit_id == built_in_id(self.resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Of a project or of a domain: one of the two is None."""

    project_id: ProjectId | None
    domain_id: DomainId | None
    service_type: str
    resource_name: str
    region_id: str | None  # of its registered limit
    resource_limit: int
    description: str | None

    @property
    def resource(self) -> str:
        return resource_of(self.service_type, self.resource_name)

    @property
    def owner_id(self) -> str:
        return self.project_id or self.domain_id or ""

    @property
    def limit_id(self) -> str:
        return limit_id(self.owner_id, self.resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRegisteredLimits(Query[tuple[RegisteredLimit, ...]]):
    """All, by service and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListLimits(Query[tuple[Limit, ...]]):
    """All, or one owner's, by owner and resource."""

    owner_id: str | None = None

"""Security groups: each project gets one named "default" the first time anybody looks for it."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError
from fabric.control.network_errors import (
    DefaultGroupExistsError,
    DefaultGroupFixedError,
    DefaultGroupStaysError,
    SecurityGroupInUseError,
    SecurityGroupNotFoundError,
)
from fabric.control.propose import propose
from fabric.core.networks.model import SecurityGroup
from fabric.core.networks.queries import GetSecurityGroup, ListSecurityGroups
from fabric.runtime.hard_state import derive_request_id
from proto.commands.networks import (
    SecurityGroupCreate,
    SecurityGroupDelete,
    SecurityGroupUpdate,
    SecurityRuleSpec,
)
from proto.ids import ProjectId, RequestId, SecurityGroupId, SecurityGroupRuleId, new_uuid

DEFAULT_GROUP_NAME = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecurityGroup:
    name: str
    description: str = ""
    project_id: ProjectId | None = None


async def ensure_default_group(cloud: Cloud, caller: Caller, project_id: ProjectId) -> SecurityGroup:
    """The project's default group, made now if it is not there yet. Asks for no rights: every project
    has one by definition. Two callers at once make one group."""
    found = await _find_default(cloud, project_id)
    if found is not None:
        return found
    group_id = SecurityGroupId(new_uuid())
    create = SecurityGroupCreate(
        security_group_id=group_id,
        project_id=project_id,
        name=DEFAULT_GROUP_NAME,
        description="Default security group",
        is_default=True,
        rules=_egress_rules() + _ingress_from(group_id),
    )
    try:
        await propose(
            cloud,
            create,
            request_id=derive_request_id(caller.request_id, f"default-security-group/{project_id}"),
        )
    except ConflictError:
        found = await _find_default(cloud, project_id)  # somebody was faster
        if found is None:
            raise
        return found
    return await _read_group(cloud, group_id)


async def list_security_groups(cloud: Cloud, caller: Caller) -> tuple[SecurityGroup, ...]:
    """The caller's groups, all projects' for an admin. Looking is what brings the default group to life."""
    policy.authorize(caller, "security_groups:list")
    if caller.project_id is not None:
        await ensure_default_group(cloud, caller, caller.project_id)
    return await cloud.state.read(ListSecurityGroups(visible_to=policy.visible_to(caller)))


async def get_security_group(cloud: Cloud, caller: Caller, group_id: SecurityGroupId) -> SecurityGroup:
    """Raises SecurityGroupNotFoundError, also for another project's."""
    policy.authorize(caller, "security_groups:show")
    return await owned_group(cloud, caller, group_id)


async def create_security_group(
    cloud: Cloud, caller: Caller, new: NewSecurityGroup, *, request_id: RequestId | None = None
) -> SecurityGroup:
    """A new group that lets everything out and nothing in. Raises QuotaError, DefaultGroupExistsError."""
    policy.authorize(caller, "security_groups:create")
    owner = policy.owner_of_new(caller, new.project_id)
    await ensure_default_group(cloud, caller, owner)
    if new.name == DEFAULT_GROUP_NAME:
        raise DefaultGroupExistsError("Default security group already exists.")
    group_id = SecurityGroupId(new_uuid())
    create = SecurityGroupCreate(
        security_group_id=group_id,
        project_id=owner,
        name=new.name,
        description=new.description,
        rules=_egress_rules(),
    )
    await propose(cloud, create, request_id=request_id or caller.request_id)
    return await _read_group(cloud, group_id)


async def update_security_group(
    cloud: Cloud, caller: Caller, group_id: SecurityGroupId, *, name: str | None, description: str | None
) -> SecurityGroup:
    """None leaves a value as it is. Raises SecurityGroupNotFoundError, DefaultGroupFixedError."""
    policy.authorize(caller, "security_groups:update")
    group = await owned_group(cloud, caller, group_id)
    if name is not None and name != group.name and DEFAULT_GROUP_NAME in (name, group.name):
        raise DefaultGroupFixedError("Updating the name of the default security group is not allowed.")
    update = SecurityGroupUpdate(security_group_id=group_id, name=name, description=description)
    await propose(cloud, update, request_id=caller.request_id)
    return await _read_group(cloud, group_id)


async def delete_security_group(
    cloud: Cloud, caller: Caller, group_id: SecurityGroupId, *, request_id: RequestId | None = None
) -> None:
    """Raises SecurityGroupNotFoundError, SecurityGroupInUseError, DefaultGroupStaysError."""
    policy.authorize(caller, "security_groups:delete")
    group = await owned_group(cloud, caller, group_id)
    if group.is_default:
        raise DefaultGroupStaysError("Removing the default security group is not allowed.")
    try:
        await propose(
            cloud,
            SecurityGroupDelete(security_group_id=group_id),
            request_id=request_id or caller.request_id,
        )
    except ConflictError as error:
        raise SecurityGroupInUseError(f"Security Group {group_id} in use.") from error


async def _find_default(cloud: Cloud, project_id: ProjectId) -> SecurityGroup | None:
    groups = await cloud.state.read(ListSecurityGroups(visible_to=project_id))
    return next((group for group in groups if group.is_default and group.project_id == project_id), None)


async def owned_group(cloud: Cloud, caller: Caller, group_id: SecurityGroupId) -> SecurityGroup:
    """A group the caller may see and change. Raises SecurityGroupNotFoundError."""
    group = await cloud.state.read(GetSecurityGroup(security_group_id=group_id))
    if group is None or not policy.can_see(caller, group.project_id):
        raise SecurityGroupNotFoundError(f"Security group {group_id} does not exist.")
    return group


async def _read_group(cloud: Cloud, group_id: SecurityGroupId) -> SecurityGroup:
    """Back what was just written. Deleted again meanwhile: not found, which is then true."""
    group = await cloud.state.read(GetSecurityGroup(security_group_id=group_id))
    if group is None:
        raise SecurityGroupNotFoundError(f"Security group {group_id} does not exist.")
    return group


def _egress_rules() -> tuple[SecurityRuleSpec, ...]:
    """Everything may leave. Source: Neutron, `securitygroups_db.create_security_group`."""
    return tuple(
        SecurityRuleSpec(rule_id=SecurityGroupRuleId(new_uuid()), direction="egress", ethertype=ethertype)
        for ethertype in ("IPv4", "IPv6")
    )


def _ingress_from(group_id: SecurityGroupId) -> tuple[SecurityRuleSpec, ...]:
    """Members of the group may reach each other."""
    return tuple(
        SecurityRuleSpec(
            rule_id=SecurityGroupRuleId(new_uuid()),
            direction="ingress",
            ethertype=ethertype,
            remote_group_id=group_id,
        )
        for ethertype in ("IPv4", "IPv6")
    )

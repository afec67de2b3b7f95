"""Projects and the one domain they are in."""

from __future__ import annotations

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ForbiddenError, InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.core.identity.model import FabricIdentity, Project
from fabric.core.identity.queries import GetProject, ListProjects
from proto.commands.identity import ProjectCreate, ProjectDelete, ProjectUpdate
from proto.ids import DomainId, ProjectId, UserId, new_hex_id


async def domain_of(cloud: Cloud, caller: Caller) -> FabricIdentity:
    """The fabric's domain. Raises: ForbiddenError."""
    policy.require(caller, "identity:domains:list")
    return await cloud.auth.fabric(cloud.state)


async def check_domain(cloud: Cloud, domain_id: str | None) -> DomainId:
    """The domain a new object goes to. Raises: InvalidError for one that is not there."""
    fabric = await cloud.auth.fabric(cloud.state)
    if domain_id not in (None, fabric.domain_id):
        raise InvalidError(f"Could not find domain: {domain_id}. This cloud has one, {fabric.domain_id}.")
    return fabric.domain_id


async def list_projects(
    cloud: Cloud, caller: Caller, *, name: str | None, enabled: bool | None
) -> tuple[Project, ...]:
    """Every project. Raises: ForbiddenError."""
    policy.require(caller, "identity:projects:list")
    return await cloud.state.read(ListProjects(name=name, enabled=enabled))


async def list_projects_of_user(
    cloud: Cloud,
    caller: Caller,
    user_id: UserId,
    *,
    name: str | None = None,
    enabled: bool | None = None,
) -> tuple[Project, ...]:
    """Projects the user has a role on: one's own always, others' as admin. Raises: ForbiddenError."""
    if user_id != caller.user_id:
        policy.require(caller, "identity:projects:list")
    return await cloud.state.read(ListProjects(user_id=user_id, name=name, enabled=enabled))


async def get_project(cloud: Cloud, caller: Caller, project_id: ProjectId) -> Project:
    """The caller's own, or any for an admin. Raises: NotFoundError."""
    project = await cloud.state.read(GetProject(project_id=project_id))
    if project is None or not policy.can_see(caller, project_id):
        raise NotFoundError(f"Could not find project: {project_id}.")
    return project


async def create_project(
    cloud: Cloud,
    caller: Caller,
    *,
    name: str,
    description: str,
    enabled: bool,
    domain_id: str | None,
    parent_id: str | None,
) -> Project:
    """Raises: ForbiddenError, ConflictError (name taken), InvalidError."""
    policy.require(caller, "identity:projects:create")
    domain = await check_domain(cloud, domain_id)
    await check_domain(cloud, parent_id)  # projects do not nest: the only parent is the domain
    project_id = ProjectId(new_hex_id())
    command = ProjectCreate(
        project_id=project_id, domain_id=domain, name=name, description=description, enabled=enabled
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await get_project(cloud, caller, project_id)


async def update_project(
    cloud: Cloud,
    caller: Caller,
    project_id: ProjectId,
    *,
    name: str | None,
    description: str | None,
    enabled: bool | None,
) -> Project:
    """None leaves a value as it is. Raises: NotFoundError, ForbiddenError, ConflictError."""
    await get_project(cloud, caller, project_id)
    policy.require(caller, "identity:projects:update")
    fabric = await cloud.auth.fabric(cloud.state)
    if enabled is False and project_id == fabric.admin_project_id:
        raise ForbiddenError("The admin project cannot be disabled: nobody could enable it again.")
    command = ProjectUpdate(project_id=project_id, name=name, description=description, enabled=enabled)
    await propose(cloud, command, request_id=caller.request_id)
    return await get_project(cloud, caller, project_id)


async def delete_project(cloud: Cloud, caller: Caller, project_id: ProjectId) -> None:
    """Raises: NotFoundError, ForbiddenError, ConflictError while it owns anything."""
    await get_project(cloud, caller, project_id)
    policy.require(caller, "identity:projects:delete")
    fabric = await cloud.auth.fabric(cloud.state)
    if project_id == fabric.admin_project_id:
        raise ForbiddenError("The admin project cannot be deleted: nobody could administer the cloud.")
    await propose(cloud, ProjectDelete(project_id=project_id), request_id=caller.request_id)

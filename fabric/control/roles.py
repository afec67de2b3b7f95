"""Roles, and who has which on what project."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import NotFoundError
from fabric.control.propose import propose
from fabric.core.identity.model import Assignment, Project, Role, User
from fabric.core.identity.queries import (
    GetProject,
    GetRole,
    GetUser,
    ListAssignments,
    ListProjects,
    ListRoles,
    ListUsers,
)
from proto.commands.identity import AssignmentGrant, AssignmentRevoke, RoleCreate, RoleDelete
from proto.ids import ProjectId, RoleId, UserId, new_hex_id


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentView:
    """`prior_role_id`: set on what an assigned role implies (`effective`). Names only if asked for."""

    assignment: Assignment
    prior_role_id: RoleId | None = None
    user: User | None = None
    project: Project | None = None
    role: Role | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentFilter:
    user_id: UserId | None = None
    project_id: ProjectId | None = None
    role_id: RoleId | None = None


async def list_roles(cloud: Cloud, caller: Caller, *, name: str | None) -> tuple[Role, ...]:
    """Raises: ForbiddenError."""
    policy.require(caller, "identity:roles:list")
    return await cloud.state.read(ListRoles(name=name))


async def get_role(cloud: Cloud, caller: Caller, role_id: RoleId) -> Role:
    """Raises: NotFoundError, ForbiddenError."""
    policy.require(caller, "identity:roles:show")
    role = await cloud.state.read(GetRole(role_id=role_id))
    if role is None:
        raise NotFoundError(f"Could not find role: {role_id}.")
    return role


async def create_role(cloud: Cloud, caller: Caller, *, name: str, description: str) -> Role:
    """A name of the operator's own: it means nothing to policy. Raises: ForbiddenError, ConflictError."""
    policy.require(caller, "identity:roles:create")
    role_id = RoleId(new_hex_id())
    command = RoleCreate(role_id=role_id, name=name, description=description)
    await propose(cloud, command, request_id=caller.request_id)
    return await get_role(cloud, caller, role_id)


async def delete_role(cloud: Cloud, caller: Caller, role_id: RoleId) -> None:
    """Raises: NotFoundError, ForbiddenError (also for the roles policy is made of)."""
    policy.require(caller, "identity:roles:delete")
    await propose(cloud, RoleDelete(role_id=role_id), request_id=caller.request_id)


async def roles_named(cloud: Cloud, names: frozenset[str]) -> tuple[Role, ...]:
    """The roles with these names, as a token lists them. Asks for no rights."""
    return tuple(role for role in await cloud.state.read(ListRoles()) if role.name in names)


async def list_grants(
    cloud: Cloud, caller: Caller, project_id: ProjectId, user_id: UserId
) -> tuple[Role, ...]:
    """The roles the user was given on the project, implied ones not added.

    Raises: NotFoundError, ForbiddenError.
    """
    policy.require(caller, "identity:grants:list")
    await _need(cloud, project_id, user_id)
    granted = await cloud.state.read(ListAssignments(user_id=user_id, project_id=project_id))
    ids = {assignment.role_id for assignment in granted}
    return tuple(role for role in await cloud.state.read(ListRoles()) if role.role_id in ids)


async def check_grant(
    cloud: Cloud, caller: Caller, project_id: ProjectId, user_id: UserId, role_id: RoleId
) -> None:
    """Raises: NotFoundError when the user does not have it, ForbiddenError."""
    policy.require(caller, "identity:grants:check")
    found = await cloud.state.read(ListAssignments(user_id=user_id, project_id=project_id, role_id=role_id))
    if not found:
        raise NotFoundError(
            f"Could not find role assignment with role: {role_id}, user or group: {user_id}, "
            f"project, domain, or system: {project_id}."
        )


async def grant(
    cloud: Cloud, caller: Caller, project_id: ProjectId, user_id: UserId, role_id: RoleId
) -> None:
    """Twice is the same as once. Raises: NotFoundError, ForbiddenError."""
    policy.require(caller, "identity:grants:create")
    command = AssignmentGrant(user_id=user_id, project_id=project_id, role_id=role_id)
    await propose(cloud, command, request_id=caller.request_id)


async def revoke_grant(
    cloud: Cloud, caller: Caller, project_id: ProjectId, user_id: UserId, role_id: RoleId
) -> None:
    """Raises: NotFoundError, ForbiddenError."""
    policy.require(caller, "identity:grants:delete")
    command = AssignmentRevoke(user_id=user_id, project_id=project_id, role_id=role_id)
    await propose(cloud, command, request_id=caller.request_id)


async def list_role_assignments(
    cloud: Cloud, caller: Caller, wanted: AssignmentFilter, *, effective: bool, include_names: bool
) -> tuple[AssignmentView, ...]:
    """`effective`: also what the assigned roles imply. Raises: ForbiddenError."""
    policy.require(caller, "identity:role_assignments:list")
    asked_role = None if effective else wanted.role_id  # an implied role is found only after expansion
    assignments = await cloud.state.read(
        ListAssignments(user_id=wanted.user_id, project_id=wanted.project_id, role_id=asked_role)
    )
    roles = {role.role_id: role for role in await cloud.state.read(ListRoles())}
    views = [AssignmentView(assignment=assignment) for assignment in assignments]
    if effective:
        views = [view for each in views for view in _expanded(each, roles)]
        if wanted.role_id is not None:
            views = [view for view in views if view.assignment.role_id == wanted.role_id]
    return tuple(await _with_names(cloud, views, roles) if include_names else views)


def _expanded(view: AssignmentView, roles: dict[RoleId, Role]) -> list[AssignmentView]:
    given = view.assignment
    role = roles.get(given.role_id)
    if role is None:
        return [view]
    implied = policy.implied_roles([role.name]) - {role.name}
    return [view] + [
        AssignmentView(
            assignment=Assignment(user_id=given.user_id, project_id=given.project_id, role_id=other.role_id),
            prior_role_id=given.role_id,
        )
        for other in roles.values()
        if other.name in implied
    ]


async def _with_names(
    cloud: Cloud, views: list[AssignmentView], roles: dict[RoleId, Role]
) -> list[AssignmentView]:
    users = {user.user_id: user for user in await cloud.state.read(ListUsers())}
    projects = {project.project_id: project for project in await cloud.state.read(ListProjects())}
    return [
        AssignmentView(
            assignment=view.assignment,
            prior_role_id=view.prior_role_id,
            user=users.get(view.assignment.user_id),
            project=projects.get(view.assignment.project_id),
            role=roles.get(view.assignment.role_id),
        )
        for view in views
    ]


async def _need(cloud: Cloud, project_id: ProjectId, user_id: UserId) -> None:
    if await cloud.state.read(GetProject(project_id=project_id)) is None:
        raise NotFoundError(f"Could not find project: {project_id}.")
    if await cloud.state.read(GetUser(user_id=user_id)) is None:
        raise NotFoundError(f"Could not find user: {user_id}.")

"""Identity."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, select

from fabric.core.identity.model import Assignment, AuthContext, FabricIdentity, Project, Role, User
from fabric.core.identity.queries import (
    FindProject,
    FindUser,
    GetAuthContext,
    GetFabric,
    GetProject,
    GetRole,
    GetUser,
    IsRevoked,
    ListAssignments,
    ListProjects,
    ListRoles,
    ListUsers,
)
from fabric.store import tables as t
from fabric.store.query.registry import answers

_USER = select(t.users).where(t.users.c.user_id == bindparam("id"))
_PROJECT = select(t.projects).where(t.projects.c.project_id == bindparam("id"))
_REVOKED = select(t.revoked_tokens.c.audit_id).where(t.revoked_tokens.c.audit_id == bindparam("id"))
_ROLES_ON = (
    select(t.roles)
    .join(t.assignments, t.assignments.c.role_id == t.roles.c.role_id)
    .where(
        t.assignments.c.user_id == bindparam("user_id"), t.assignments.c.project_id == bindparam("project_id")
    )
    .order_by(t.roles.c.name)
)


def _user(row: Row[Any]) -> User:
    return User(**row._mapping)


def _project(row: Row[Any]) -> Project:
    return Project(**row._mapping)


def _role(row: Row[Any]) -> Role:
    return Role(role_id=row.role_id, name=row.name, description=row.description)


@answers(GetFabric)
def get_fabric(connection: Connection, query: GetFabric) -> FabricIdentity | None:
    row = connection.execute(select(t.fabric)).first()
    if row is None:
        return None
    return FabricIdentity(**{name: value for name, value in row._mapping.items() if name != "id"})


@answers(GetUser)
def get_user(connection: Connection, query: GetUser) -> User | None:
    row = connection.execute(_USER, {"id": query.user_id}).first()
    return None if row is None else _user(row)


@answers(FindUser)
def find_user(connection: Connection, query: FindUser) -> User | None:
    statement = select(t.users).where(t.users.c.name == query.name).order_by(t.users.c.user_id)
    row = connection.execute(statement).first()
    return None if row is None else _user(row)


@answers(ListUsers)
def list_users(connection: Connection, query: ListUsers) -> tuple[User, ...]:
    statement = select(t.users).order_by(t.users.c.name, t.users.c.user_id)
    if query.name is not None:
        statement = statement.where(t.users.c.name == query.name)
    if query.enabled is not None:
        statement = statement.where(t.users.c.enabled == query.enabled)
    return tuple(_user(row) for row in connection.execute(statement))


@answers(GetProject)
def get_project(connection: Connection, query: GetProject) -> Project | None:
    row = connection.execute(_PROJECT, {"id": query.project_id}).first()
    return None if row is None else _project(row)


@answers(FindProject)
def find_project(connection: Connection, query: FindProject) -> Project | None:
    statement = select(t.projects).where(t.projects.c.name == query.name).order_by(t.projects.c.project_id)
    row = connection.execute(statement).first()
    return None if row is None else _project(row)


@answers(ListProjects)
def list_projects(connection: Connection, query: ListProjects) -> tuple[Project, ...]:
    statement = select(t.projects).order_by(t.projects.c.name, t.projects.c.project_id)
    if query.name is not None:
        statement = statement.where(t.projects.c.name == query.name)
    if query.enabled is not None:
        statement = statement.where(t.projects.c.enabled == query.enabled)
    if query.user_id is not None:
        owned = select(t.assignments.c.project_id).where(t.assignments.c.user_id == query.user_id)
        statement = statement.where(t.projects.c.project_id.in_(owned))
    return tuple(_project(row) for row in connection.execute(statement))


@answers(GetRole)
def get_role(connection: Connection, query: GetRole) -> Role | None:
    row = connection.execute(select(t.roles).where(t.roles.c.role_id == query.role_id)).first()
    return None if row is None else _role(row)


@answers(ListRoles)
def list_roles(connection: Connection, query: ListRoles) -> tuple[Role, ...]:
    statement = select(t.roles).order_by(t.roles.c.name, t.roles.c.role_id)
    if query.name is not None:
        statement = statement.where(t.roles.c.name == query.name)
    return tuple(_role(row) for row in connection.execute(statement))


@answers(ListAssignments)
def list_assignments(connection: Connection, query: ListAssignments) -> tuple[Assignment, ...]:
    c = t.assignments.c
    statement = select(t.assignments).order_by(c.project_id, c.user_id, c.role_id)
    for column, wanted in (
        (c.user_id, query.user_id),
        (c.project_id, query.project_id),
        (c.role_id, query.role_id),
    ):
        if wanted is not None:
            statement = statement.where(column == wanted)
    return tuple(Assignment(**row._mapping) for row in connection.execute(statement))


@answers(IsRevoked)
def is_revoked(connection: Connection, query: IsRevoked) -> bool:
    return connection.execute(_REVOKED, {"id": query.audit_id}).first() is not None


@answers(GetAuthContext)
def get_auth_context(connection: Connection, query: GetAuthContext) -> AuthContext:
    user = connection.execute(_USER, {"id": query.user_id}).first()
    project, roles = None, []
    if query.project_id is not None:
        project = connection.execute(_PROJECT, {"id": query.project_id}).first()
        where = {"user_id": query.user_id, "project_id": query.project_id}
        roles = [_role(row) for row in connection.execute(_ROLES_ON, where)]
    return AuthContext(
        user=None if user is None else _user(user),
        project=None if project is None else _project(project),
        role_names=tuple(role.name for role in roles),
        roles=tuple(roles),
        revoked=connection.execute(_REVOKED, {"id": query.audit_id}).first() is not None,
    )

"""What may be asked of Identity."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.identity.model import Assignment, AuthContext, FabricIdentity, Project, Role, User
from fabric.core.queries import Query
from proto.ids import ProjectId, RoleId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFabric(Query[FabricIdentity | None]):
    """None before FabricInit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GetUser(Query[User | None]):
    user_id: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class FindUser(Query[User | None]):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListUsers(Query[tuple[User, ...]]):
    name: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetProject(Query[Project | None]):
    project_id: ProjectId


@dataclass(frozen=True, slots=True, kw_only=True)
class FindProject(Query[Project | None]):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListProjects(Query[tuple[Project, ...]]):
    """`user_id`: only projects that user has a role on."""

    name: str | None = None
    enabled: bool | None = None
    user_id: UserId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetRole(Query[Role | None]):
    role_id: RoleId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRoles(Query[tuple[Role, ...]]):
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAssignments(Query[tuple[Assignment, ...]]):
    user_id: UserId | None = None
    project_id: ProjectId | None = None
    role_id: RoleId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class IsRevoked(Query[bool]):
    audit_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GetAuthContext(Query[AuthContext]):
    user_id: UserId
    project_id: ProjectId | None
    audit_id: str

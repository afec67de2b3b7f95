"""Identity: projects, users, roles, assignments, token revocation."""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import DomainId, FabricId, NodeId, ProjectId, RoleId, UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class FabricInit(Command):
    """The first entry of every log. Makes the default domain, roles admin/manager/member/reader,
    the projects `admin` and `service`, the user `admin` with role admin on `admin`, the default quota
    limits and the token key. Rejected (`conflict`) when the log is already initialised."""

    KIND = "fabric.init"
    fabric_id: FabricId
    node_id: NodeId
    root_public: bytes  # Ed25519 public key of the fabric's root, 32 bytes
    domain_id: DomainId
    admin_project_id: ProjectId
    service_project_id: ProjectId
    admin_user_id: UserId
    admin_password_hash: str
    admin_role_id: RoleId
    manager_role_id: RoleId
    member_role_id: RoleId
    reader_role_id: RoleId
    token_key: bytes  # 32 bytes, signs Identity tokens


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectCreate(Command):
    KIND = "project.create"
    project_id: ProjectId
    domain_id: DomainId
    name: str
    description: str = ""
    enabled: bool = True


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectUpdate(Command):
    """Fields left None stay as they are."""

    KIND = "project.update"
    project_id: ProjectId
    name: str | None = None
    description: str | None = None
    enabled: bool | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectDelete(Command):
    """Rejected (`in_use`) while the project owns servers, images, ports or networks."""

    KIND = "project.delete"
    project_id: ProjectId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class UserCreate(Command):
    KIND = "user.create"
    user_id: UserId
    domain_id: DomainId
    name: str
    password_hash: str | None = None
    enabled: bool = True
    default_project_id: ProjectId | None = None
    description: str = ""
    email: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class UserUpdate(Command):
    """Fields left None stay as they are. A new password ends all tokens issued before it."""

    KIND = "user.update"
    user_id: UserId
    name: str | None = None
    password_hash: str | None = None
    enabled: bool | None = None
    default_project_id: ProjectId | None = None
    description: str | None = None
    email: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class UserDelete(Command):
    KIND = "user.delete"
    user_id: UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCreate(Command):
    KIND = "role.create"
    role_id: RoleId
    name: str
    description: str = ""


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RoleDelete(Command):
    KIND = "role.delete"
    role_id: RoleId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentGrant(Command):
    """Granting twice is the same as once."""

    KIND = "assignment.grant"
    user_id: UserId
    project_id: ProjectId
    role_id: RoleId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AssignmentRevoke(Command):
    KIND = "assignment.revoke"
    user_id: UserId
    project_id: ProjectId
    role_id: RoleId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class AuthTokenRevoke(Command):
    KIND = "auth_token.revoke"
    audit_id: str
    expires_ms: int  # kept until then

"""Who is who."""

from __future__ import annotations

from dataclasses import dataclass

from proto.ids import DomainId, FabricId, NodeId, ProjectId, RoleId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class FabricIdentity:
    """The fabric's own constants, made by FabricInit."""

    fabric_id: FabricId
    founder_id: NodeId
    root_public: bytes
    domain_id: DomainId
    domain_name: str
    admin_project_id: ProjectId
    token_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    project_id: ProjectId
    domain_id: DomainId
    name: str
    description: str
    enabled: bool
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    user_id: UserId
    domain_id: DomainId
    name: str
    password_hash: str | None
    enabled: bool
    default_project_id: ProjectId | None
    description: str
    email: str | None
    created_ms: int
    password_ms: int  # tokens issued before it are void


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    role_id: RoleId
    name: str
    description: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    user_id: UserId
    project_id: ProjectId
    role_id: RoleId


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthContext:
    """All that is needed to judge a token, read at once. `project` None: unscoped or gone."""

    user: User | None
    project: Project | None
    role_names: tuple[str, ...]  # as assigned, implied ones not added
    roles: tuple[Role, ...]
    revoked: bool

"""Logging in: who proves to be whom, and for which project. The answer to every failure is the same, and
costs the same work whether the user exists or not."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control.context import Cloud
from fabric.control.errors import UnauthenticatedError
from fabric.control.tokens import UNAUTHENTICATED, ValidToken, issue, validate_token
from fabric.core.identity.model import User
from fabric.core.identity.queries import FindProject, FindUser, GetUser
from proto.ids import ProjectId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainRef:
    """By id or by name; with neither it is the fabric's own domain."""

    domain_id: str | None = None
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordMethod:
    """The user by id, or by name in a domain."""

    user_id: UserId | None
    name: str | None
    domain: DomainRef
    password: str


@dataclass(frozen=True, slots=True)
class TokenMethod:
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectScope:
    """The project by id, or by name in a domain."""

    project_id: ProjectId | None
    name: str | None
    domain: DomainRef


@dataclass(frozen=True, slots=True)
class Unscoped:
    """Asked for in so many words."""


@dataclass(frozen=True, slots=True)
class DefaultScope:
    """Nothing asked for: the user's default project if there is one they may use, else none."""


@dataclass(frozen=True, slots=True)
class NoSuchScope:
    """Domain and system scopes: nobody has a role on those here, and Keystone's answer to that is 401."""


Method = PasswordMethod | TokenMethod
Scope = ProjectScope | Unscoped | DefaultScope | NoSuchScope


async def log_in(cloud: Cloud, methods: tuple[Method, ...], scope: Scope) -> tuple[str, ValidToken]:
    """The token's text and what it stands for. Several methods must all prove the same user.

    Raises: UnauthenticatedError, in the same words whatever was wrong; UnavailableError when too many
    are logging in at once.
    """
    user: User | None = None
    parent: ValidToken | None = None
    names: tuple[str, ...] = ()
    for method in methods:
        match method:
            case PasswordMethod():
                proven = await _prove_password(cloud, method)
                names = (*names, "password")
            case TokenMethod():
                parent = await validate_token(cloud, method.token)
                proven = parent.user
                names = (*names, "token", *parent.claims.methods)
        if user is not None and user.user_id != proven.user_id:
            raise UnauthenticatedError(UNAUTHENTICATED)
        user = proven
    if user is None:
        raise UnauthenticatedError(UNAUTHENTICATED)
    return await _issue_scoped(cloud, user, scope, tuple(dict.fromkeys(names)), parent)


async def verify_password_of(cloud: Cloud, user: User | None, password: str) -> bool:
    """Constant work: a user that is not there, or is disabled, costs a hash too."""
    is_right = await cloud.auth.hasher.verify(password, user.password_hash if user else None)
    return is_right and user is not None and user.enabled


async def _prove_password(cloud: Cloud, method: PasswordMethod) -> User:
    user: User | None = None
    if method.user_id is not None:
        user = await cloud.state.read(GetUser(user_id=method.user_id))
    elif method.name is not None and await _is_our_domain(cloud, method.domain):
        user = await cloud.state.read(FindUser(name=method.name))
    if not await verify_password_of(cloud, user, method.password) or user is None:
        raise UnauthenticatedError(UNAUTHENTICATED)
    return user


async def _issue_scoped(
    cloud: Cloud, user: User, scope: Scope, methods: tuple[str, ...], parent: ValidToken | None
) -> tuple[str, ValidToken]:
    match scope:
        case ProjectScope():
            project_id = await _project_of(cloud, scope)
            return await issue(cloud, user, project_id, methods, parent)
        case Unscoped():
            return await issue(cloud, user, None, methods, parent)
        case NoSuchScope():
            raise UnauthenticatedError(UNAUTHENTICATED)
        case DefaultScope():
            if user.default_project_id is None:
                return await issue(cloud, user, None, methods, parent)
            try:
                return await issue(cloud, user, user.default_project_id, methods, parent)
            except UnauthenticatedError:  # gone, disabled or without a role: Keystone unscopes quietly
                return await issue(cloud, user, None, methods, parent)


async def _project_of(cloud: Cloud, scope: ProjectScope) -> ProjectId:
    if scope.project_id is not None:
        return scope.project_id
    if scope.name is not None and await _is_our_domain(cloud, scope.domain):
        project = await cloud.state.read(FindProject(name=scope.name))
        if project is not None:
            return project.project_id
    raise UnauthenticatedError(UNAUTHENTICATED)


async def _is_our_domain(cloud: Cloud, domain: DomainRef) -> bool:
    fabric = await cloud.auth.fabric(cloud.state)
    if domain.domain_id is not None:
        return domain.domain_id == fabric.domain_id
    return domain.name is None or domain.name == fabric.domain_name

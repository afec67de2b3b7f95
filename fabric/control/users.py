"""Users and their passwords."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError, NotFoundError, UnauthenticatedError
from fabric.control.login import verify_password_of
from fabric.control.passwords import PasswordTooLongError
from fabric.control.projects import check_domain
from fabric.control.propose import propose
from fabric.core.identity.model import User
from fabric.core.identity.queries import GetUser, ListUsers
from proto.commands.identity import UserCreate, UserDelete, UserUpdate
from proto.ids import ProjectId, UserId, new_hex_id


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    name: str
    password: str | None = None
    domain_id: str | None = None
    enabled: bool = True
    default_project_id: ProjectId | None = None
    description: str = ""
    email: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserChange:
    """None leaves a value as it is."""

    name: str | None = None
    password: str | None = None
    enabled: bool | None = None
    default_project_id: ProjectId | None = None
    description: str | None = None
    email: str | None = None


async def list_users(
    cloud: Cloud, caller: Caller, *, name: str | None, enabled: bool | None
) -> tuple[User, ...]:
    """Raises: ForbiddenError."""
    policy.require(caller, "identity:users:list")
    return await cloud.state.read(ListUsers(name=name, enabled=enabled))


async def get_user(cloud: Cloud, caller: Caller, user_id: UserId) -> User:
    """Oneself, or anybody for an admin. Raises: NotFoundError."""
    is_visible = user_id == caller.user_id or policy.allows(caller, "identity:users:show")
    user = await cloud.state.read(GetUser(user_id=user_id)) if is_visible else None
    if user is None:
        raise NotFoundError(f"Could not find user: {user_id}.")
    return user


async def create_user(cloud: Cloud, caller: Caller, new: NewUser) -> User:
    """Raises: ForbiddenError, ConflictError (name taken), InvalidError, NotFoundError (default project)."""
    policy.require(caller, "identity:users:create")
    domain_id = await check_domain(cloud, new.domain_id)
    user_id = UserId(new_hex_id())
    command = UserCreate(
        user_id=user_id,
        domain_id=domain_id,
        name=new.name,
        password_hash=await _hashed(cloud, new.password),
        enabled=new.enabled,
        default_project_id=new.default_project_id,
        description=new.description,
        email=new.email,
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await get_user(cloud, caller, user_id)


async def update_user(cloud: Cloud, caller: Caller, user_id: UserId, change: UserChange) -> User:
    """A new password ends all the user's tokens. Raises: NotFoundError, ForbiddenError, ConflictError."""
    await get_user(cloud, caller, user_id)
    policy.require(caller, "identity:users:update")
    command = UserUpdate(
        user_id=user_id,
        name=change.name,
        password_hash=await _hashed(cloud, change.password),
        enabled=change.enabled,
        default_project_id=change.default_project_id,
        description=change.description,
        email=change.email,
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await get_user(cloud, caller, user_id)


async def delete_user(cloud: Cloud, caller: Caller, user_id: UserId) -> None:
    """Raises: NotFoundError, ForbiddenError."""
    await get_user(cloud, caller, user_id)
    policy.require(caller, "identity:users:delete")
    await propose(cloud, UserDelete(user_id=user_id), request_id=caller.request_id)


async def change_password(
    cloud: Cloud, caller: Caller, user_id: UserId, *, original: str, password: str
) -> None:
    """By the user, who shows the old one. Ends all the user's tokens, the one used here too.

    Raises: NotFoundError, UnauthenticatedError (the old one is wrong), InvalidError.
    """
    user = await get_user(cloud, caller, user_id)
    if not await verify_password_of(cloud, user, original):
        raise UnauthenticatedError("The original password is wrong.")
    if password == original:
        raise InvalidError("The new password must differ from the original one.")
    command = UserUpdate(user_id=user_id, password_hash=await _hashed(cloud, password))
    await propose(cloud, command, request_id=caller.request_id)


async def _hashed(cloud: Cloud, password: str | None) -> str | None:
    if password is None:
        return None
    try:
        return await cloud.auth.hasher.hash(password)
    except PasswordTooLongError as error:
        raise InvalidError(f"Invalid input for field/attribute password. {error}") from error

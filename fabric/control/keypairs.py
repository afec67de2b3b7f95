"""Key pairs: a user's public keys, by name. Private keys are made here, told once and never kept."""

from __future__ import annotations

import asyncio
import datetime
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.control.ssh_keys import (
    GeneratedKey,
    generate_ssh_key,
    generate_x509_key,
    ssh_fingerprint,
    x509_fingerprint,
)
from fabric.core.catalog.model import Keypair
from fabric.core.catalog.queries import GetKeypair, ListKeypairs
from fabric.core.queries import MarkerNotFoundError, Page
from proto.commands.catalog import KeypairCreate, KeypairDelete
from proto.ids import UserId


@dataclass(frozen=True, slots=True)
class CreatedKeypair:
    """`private_key` None when the user brought the public key."""

    keypair: Keypair
    private_key: str | None


async def create_keypair(
    cloud: Cloud,
    caller: Caller,
    *,
    name: str,
    key_type: str,
    public_key: str | None,
    user_id: str | None = None,
) -> CreatedKeypair:
    """`key_type` is "ssh" or "x509". Without `public_key` a pair is made.

    Raises: InvalidError (the key), ConflictError (the name exists), QuotaError, ForbiddenError (`user_id`
    is another's and the caller no admin).
    """
    policy.require(caller, "compute:keypairs:create")
    owner = _owner(caller, user_id)
    made: GeneratedKey | None = None
    if public_key is None:
        made = await _generate(cloud, caller, key_type)
        public_key, fingerprint = made.public_key, made.fingerprint
    else:
        public_key = public_key.strip()
        fingerprint_of = x509_fingerprint if key_type == "x509" else ssh_fingerprint
        fingerprint = await asyncio.to_thread(fingerprint_of, public_key)
    command = KeypairCreate(
        user_id=owner,
        project_id=policy.owner_of_new(caller),
        name=name,
        key_type=key_type,
        public_key=public_key,
        fingerprint=fingerprint,
    )
    try:
        await propose(cloud, command, request_id=caller.request_id)
    except ConflictError as error:
        raise ConflictError(f"Key pair '{name}' already exists.") from error
    keypair = await cloud.state.read(GetKeypair(user_id=owner, name=name))
    if keypair is None:  # deleted again by now, and created nevertheless
        keypair = Keypair(
            user_id=owner,
            name=name,
            key_type=key_type,
            public_key=public_key,
            fingerprint=fingerprint,
            created_ms=cloud.clock.wall_ms(),
        )
    return CreatedKeypair(keypair, made.private_key if made else None)


async def list_keypairs(
    cloud: Cloud, caller: Caller, page: Page, *, user_id: str | None = None
) -> tuple[Keypair, ...]:
    """By name. Raises: ForbiddenError (another's), InvalidError (unknown marker)."""
    policy.require(caller, "compute:keypairs:list")
    try:
        return await cloud.state.read(ListKeypairs(user_id=_owner(caller, user_id), page=page))
    except MarkerNotFoundError as error:
        raise InvalidError(f"marker [{page.marker}] not found") from error


async def get_keypair(cloud: Cloud, caller: Caller, name: str, *, user_id: str | None = None) -> Keypair:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:keypairs:show")
    return await _find(cloud, _owner(caller, user_id), name)


async def delete_keypair(cloud: Cloud, caller: Caller, name: str, *, user_id: str | None = None) -> None:
    """Servers that have the key keep it. Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:keypairs:delete")
    owner = _owner(caller, user_id)
    await _find(cloud, owner, name)
    await propose(cloud, KeypairDelete(user_id=owner, name=name), request_id=caller.request_id)


async def _find(cloud: Cloud, owner: UserId, name: str) -> Keypair:
    keypair = await cloud.state.read(GetKeypair(user_id=owner, name=name))
    if keypair is None:
        raise NotFoundError(f"Keypair {name} not found for user {owner}")
    return keypair


def _owner(caller: Caller, user_id: str | None) -> UserId:
    if user_id is None or user_id == caller.user_id:
        return caller.user_id
    if not caller.is_admin:
        raise ForbiddenError("Policy doesn't allow key pairs of another user to be used.")
    return UserId(user_id)


async def _generate(cloud: Cloud, caller: Caller, key_type: str) -> GeneratedKey:
    if key_type == "x509":
        now = datetime.datetime.fromtimestamp(cloud.clock.wall_ms() / 1_000, datetime.UTC)
        return await asyncio.to_thread(generate_x509_key, caller.user_name, now)
    return await asyncio.to_thread(generate_ssh_key, "Generated-by-Fabric")

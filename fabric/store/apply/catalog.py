"""Flavors and key pairs. Messages in Nova's words."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import need_flavor, need_user
from fabric.store.apply.quota import limit_of_user, over_limit
from fabric.store.apply.registry import handles
from proto.commands.catalog import FlavorCreate, FlavorDelete, FlavorUpdate, KeypairCreate, KeypairDelete


@handles(FlavorCreate, lambda command: command.flavor_id)
def create_flavor(context: ApplyContext, command: FlavorCreate) -> Result:
    taken = t.flavors.c.flavor_id == command.flavor_id
    if context.exists(single(select(t.flavors.c.flavor_id).where(taken))):
        reject("conflict", f"Flavor with ID {command.flavor_id} already exists.")
    if context.exists(single(select(t.flavors.c.flavor_id).where(t.flavors.c.name == command.name))):
        reject("conflict", f"Flavor with name {command.name} already exists.")
    sizes = (command.root_gb, command.ephemeral_gb, command.swap_mb)
    if command.vcpus < 1 or command.memory_mb < 1 or min(sizes) < 0:
        reject("invalid", "A flavor needs at least 1 vcpu and 1 MB of ram, and no negative disk.")
    context.write(
        insert(t.flavors),
        {
            "flavor_id": command.flavor_id,
            "name": command.name,
            "vcpus": command.vcpus,
            "memory_mb": command.memory_mb,
            "root_gb": command.root_gb,
            "ephemeral_gb": command.ephemeral_gb,
            "swap_mb": command.swap_mb,
            "is_public": command.is_public,
            "description": command.description,
            "rxtx_factor_milli": command.rxtx_factor_milli,
            "extra_specs": {},
            "created_ms": context.time_ms,
        },
    )
    return {}


@handles(FlavorUpdate, lambda command: command.flavor_id)
def update_flavor(context: ApplyContext, command: FlavorUpdate) -> Result:
    row = need_flavor(context, command.flavor_id)
    specs = dict(row.extra_specs)
    for key in command.extra_specs_unset:
        if key not in specs:
            reject("not_found", f"Flavor {command.flavor_id} has no extra specs with key {key}.")
        del specs[key]
    specs.update(command.extra_specs_set)
    values: dict[str, object] = {"extra_specs": specs}
    if command.description is not None:
        values["description"] = command.description
    where = t.flavors.c.flavor_id == command.flavor_id
    context.write(update(t.flavors).where(where).values(values))
    _change_access(context, command)
    return {}


def _change_access(context: ApplyContext, command: FlavorUpdate) -> None:
    access = t.flavor_access
    for project_id in command.access_remove:
        key = (access.c.flavor_id == command.flavor_id) & (access.c.project_id == project_id)
        if not context.write(delete(access).where(key)):
            reject(
                "not_found",
                f"Flavor access not found for {command.flavor_id} / {project_id} combination.",
            )
    for project_id in command.access_add:
        key = (access.c.flavor_id == command.flavor_id) & (access.c.project_id == project_id)
        if context.exists(single(select(access.c.flavor_id).where(key))):
            reject(
                "conflict",
                f"Flavor access already exists for flavor {command.flavor_id} "
                f"and project {project_id} combination.",
            )
        context.write(insert(access), {"flavor_id": command.flavor_id, "project_id": project_id})


@handles(FlavorDelete, lambda command: command.flavor_id)
def delete_flavor(context: ApplyContext, command: FlavorDelete) -> Result:
    need_flavor(context, command.flavor_id)
    for table in (t.flavor_access, t.flavors):
        context.write(delete(table).where(table.c.flavor_id == command.flavor_id))
    return {}


@handles(KeypairCreate, lambda command: f"{command.user_id}/{command.name}")
def create_keypair(context: ApplyContext, command: KeypairCreate) -> Result:
    need_user(context, command.user_id)
    key = (t.keypairs.c.user_id == command.user_id) & (t.keypairs.c.name == command.name)
    if context.exists(single(select(t.keypairs.c.name).where(key))):
        reject("conflict", f"Key pair '{command.name}' already exists.")
    limit = limit_of_user(context, command.project_id, command.user_id, "key_pairs")
    if over_limit(context, limit, t.keypairs, t.keypairs.c.user_id == command.user_id):
        reject("quota", "Quota exceeded, too many key pairs.")
    context.write(
        insert(t.keypairs),
        {
            "user_id": command.user_id,
            "name": command.name,
            "key_type": command.key_type,
            "public_key": command.public_key,
            "fingerprint": command.fingerprint,
            "created_ms": context.time_ms,
        },
    )
    return {}


@handles(KeypairDelete, lambda command: f"{command.user_id}/{command.name}")
def delete_keypair(context: ApplyContext, command: KeypairDelete) -> Result:
    key = (t.keypairs.c.user_id == command.user_id) & (t.keypairs.c.name == command.name)
    if not context.write(delete(t.keypairs).where(key)):
        reject("not_found", f"Keypair {command.name} not found for user {command.user_id}")
    return {}

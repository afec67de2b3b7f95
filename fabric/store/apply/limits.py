"""Unified limits: registering them, and giving them to owners. Messages in Keystone's words."""

from __future__ import annotations

from sqlalchemy import delete, insert, select, update

from fabric.core.quotas.unified import BUILT_IN, built_in_id, name_of, resource_of
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import need_project
from fabric.store.apply.quota import DEFAULTS_PROJECT, UNLIMITED, drop_limit, put_limit
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow
from fabric.store.tables import level2
from proto.commands.limits import (
    LimitDelete,
    LimitsCreate,
    LimitUpdate,
    NewLimit,
    NewRegisteredLimit,
    RegisteredLimitDelete,
    RegisteredLimitsCreate,
    RegisteredLimitUpdate,
)

_registered = level2.registered_limits
_notes = level2.limit_descriptions


@handles(RegisteredLimitsCreate, lambda command: ",".join(new.limit_id for new in command.limits))
def create_registered_limits(context: ApplyContext, command: RegisteredLimitsCreate) -> Result:
    for new in command.limits:
        resource = resource_of(new.service_type, new.resource_name)
        if _registered_for(context, resource) is not None or _row(context, new.limit_id) is not None:
            reject("conflict", "Conflict occurred attempting to store registered_limit - Duplicate entry.")
        _register(context, new)
    return {}


@handles(RegisteredLimitUpdate, lambda command: command.limit.limit_id)
def update_registered_limit(context: ApplyContext, command: RegisteredLimitUpdate) -> Result:
    new = command.limit
    former = _need_registered(context, new.limit_id)
    resource = resource_of(new.service_type, new.resource_name)
    _need_no_limits(context, new.limit_id, former)
    if resource != former:
        if new.limit_id == built_in_id(former):
            reject("forbidden", f"Registered limit {new.limit_id} is the fabric's own: it stays what it is.")
        if _registered_for(context, resource) is not None:
            reject("conflict", "Conflict occurred attempting to store registered_limit - Duplicate entry.")
        _restore_default(context, former, command.former_default)
    context.write(delete(_registered).where(_registered.c.limit_id == new.limit_id))
    _register(context, new)
    return {}


@handles(RegisteredLimitDelete, lambda command: command.limit_id)
def delete_registered_limit(context: ApplyContext, command: RegisteredLimitDelete) -> Result:
    resource = _need_registered(context, command.limit_id)
    if command.limit_id == built_in_id(resource):
        reject(
            "forbidden",
            f"Registered limit {command.limit_id} is the fabric's own and cannot be deleted: set its default "
            "limit to -1 for no limit.",
        )
    _need_no_limits(context, command.limit_id, resource)
    context.write(delete(_registered).where(_registered.c.limit_id == command.limit_id))
    _restore_default(context, resource, command.former_default)
    return {}


@handles(LimitsCreate, lambda command: ",".join(new.owner_id for new in command.limits))
def create_limits(context: ApplyContext, command: LimitsCreate) -> Result:
    for new in command.limits:
        _check_number(new.resource_limit)
        _need_owner(context, new.owner_id)
        resource = _need_reference(context, new)
        if _has_limit(context, new.owner_id, resource):
            reject("conflict", "Conflict occurred attempting to store limit - Duplicate entry.")
        put_limit(context, new.owner_id, resource, new.resource_limit)
        _describe(context, new.owner_id, resource, new.description)
    return {}


@handles(LimitUpdate, lambda command: command.owner_id)
def update_limit(context: ApplyContext, command: LimitUpdate) -> Result:
    _check_number(command.resource_limit)
    c = t.quota_limits.c
    key = (c.project_id == command.owner_id) & (c.resource == command.resource)
    if not context.write(update(t.quota_limits).where(key).values(hard_limit=command.resource_limit)):
        _no_such_limit(command.owner_id, command.resource)
    _describe(context, command.owner_id, command.resource, command.description)
    return {}


@handles(LimitDelete, lambda command: command.owner_id)
def delete_limit(context: ApplyContext, command: LimitDelete) -> Result:
    if command.owner_id == DEFAULTS_PROJECT or not drop_limit(context, command.owner_id, command.resource):
        _no_such_limit(command.owner_id, command.resource)
    _describe(context, command.owner_id, command.resource, None)
    return {}


def _register(context: ApplyContext, new: NewRegisteredLimit) -> None:
    _check_number(new.default_limit)
    context.write(
        insert(_registered),
        {
            "limit_id": new.limit_id,
            "service_type": new.service_type,
            "resource_name": new.resource_name,
            "region_id": new.region_id,
            "description": new.description,
        },
    )
    put_limit(context, DEFAULTS_PROJECT, resource_of(new.service_type, new.resource_name), new.default_limit)


def _restore_default(context: ApplyContext, resource: str, limit: int | None) -> None:
    if limit is None:
        drop_limit(context, DEFAULTS_PROJECT, resource)
    else:
        put_limit(context, DEFAULTS_PROJECT, resource, limit)


def _row(context: ApplyContext, limit_id: str) -> AnyRow | None:
    return context.row(single(select(_registered).where(_registered.c.limit_id == limit_id)))


def _registered_for(context: ApplyContext, resource: str) -> AnyRow | None:
    """What somebody registered for it."""
    service_type, name = name_of(resource)
    key = (_registered.c.service_type == service_type, _registered.c.resource_name == name)
    return context.row(single(select(_registered).where(*key)))


def _need_registered(context: ApplyContext, limit_id: str) -> str:
    """Of which resource that one is."""
    row = _row(context, limit_id)
    if row is not None:
        return resource_of(row.service_type, row.resource_name)
    for resource in BUILT_IN:
        if built_in_id(resource) == limit_id and _registered_for(context, resource) is None:
            return resource
    reject("not_found", f"Could not find registered limit for {limit_id}.")


def _need_no_limits(context: ApplyContext, limit_id: str, resource: str) -> None:
    c = t.quota_limits.c
    given = select(c.resource).where(c.resource == resource, c.project_id != DEFAULTS_PROJECT).limit(1)
    if context.exists(single(given)):
        reject(
            "forbidden",
            f"Unable to update or delete registered limit {limit_id} because there are project limits "
            "associated with it.",
        )


def _need_reference(context: ApplyContext, new: NewLimit) -> str:
    """The resource, which must be registered in that region."""
    resource = resource_of(new.service_type, new.resource_name)
    row = _registered_for(context, resource)
    if (row is None and resource not in BUILT_IN) or new.region_id != (row.region_id if row else None):
        reject("forbidden", "Unable to create a limit that has no corresponding registered limit.")
    return resource


def _need_owner(context: ApplyContext, owner_id: str) -> None:
    if not context.exists(single(select(t.fabric.c.id).where(t.fabric.c.domain_id == owner_id))):
        need_project(context, owner_id)


def _has_limit(context: ApplyContext, owner_id: str, resource: str) -> bool:
    c = t.quota_limits.c
    return context.exists(single(select(c.resource).where(c.project_id == owner_id, c.resource == resource)))


def _describe(context: ApplyContext, owner_id: str, resource: str, description: str | None) -> None:
    key = {"owner_id": owner_id, "resource": resource}
    context.write(delete(_notes).where(*(_notes.c[name] == value for name, value in key.items())))
    if description is not None:
        context.write(insert(_notes), {**key, "description": description})


def _check_number(limit: int) -> None:
    if limit < UNLIMITED:
        reject("invalid", f"A limit of {limit} cannot be: -1 is no limit.")


def _no_such_limit(owner_id: str, resource: str) -> None:
    reject("not_found", f"Could not find limit for {resource} of {owner_id}.")

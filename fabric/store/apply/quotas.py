"""Quota limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import delete, insert

from fabric.core.quotas.model import ALL_LIMITS, DEFAULT_CLASS, DEFAULT_LIMITS, OF_USERS
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.lookups import need_project, need_user
from fabric.store.apply.quota import (
    DEFAULTS_PROJECT,
    UNLIMITED,
    drop_limit,
    forget_limits_of_project,
    put_limit,
)
from fabric.store.apply.registry import handles
from fabric.store.tables import level2
from proto.commands.quotas import QuotaClassSet, QuotaReset, QuotaResetOf, QuotaSet, QuotaSetOf


@handles(QuotaSet, lambda command: command.project_id)
def set_quota(context: ApplyContext, command: QuotaSet) -> Result:
    need_project(context, command.project_id)
    for resource, limit in _checked(command.limits, DEFAULT_LIMITS):
        put_limit(context, command.project_id, resource, limit)
    return {}


@handles(QuotaSetOf, lambda command: command.project_id)
def set_quota_of(context: ApplyContext, command: QuotaSetOf) -> Result:
    need_project(context, command.project_id)
    if command.user_id is None:
        for resource, limit in _checked(command.limits, ALL_LIMITS):
            put_limit(context, command.project_id, resource, limit)
        return {}
    need_user(context, command.user_id)
    own = level2.user_quota_limits
    for resource, limit in _checked(command.limits, OF_USERS):
        key = {"project_id": command.project_id, "user_id": command.user_id, "resource": resource}
        context.write(delete(own).where(*(own.c[name] == value for name, value in key.items())))
        context.write(insert(own), {**key, "hard_limit": limit})
    return {}


@handles(QuotaReset, lambda command: command.project_id)
def reset_quota(context: ApplyContext, command: QuotaReset) -> Result:
    need_project(context, command.project_id)
    forget_limits_of_project(context, command.project_id)
    return {}


@handles(QuotaResetOf, lambda command: command.project_id)
def reset_quota_of(context: ApplyContext, command: QuotaResetOf) -> Result:
    need_project(context, command.project_id)
    own, notes = level2.user_quota_limits, level2.limit_descriptions
    of_user = () if command.user_id is None else (own.c.user_id == command.user_id,)
    for resource in command.resources:
        of_resource = (own.c.project_id == command.project_id, own.c.resource == resource)
        context.write(delete(own).where(*of_resource, *of_user))
        if command.user_id is None:
            drop_limit(context, command.project_id, resource)
            key = (notes.c.owner_id == command.project_id, notes.c.resource == resource)
            context.write(delete(notes).where(*key))
    return {}


@handles(QuotaClassSet, lambda command: command.class_name)
def set_quota_class(context: ApplyContext, command: QuotaClassSet) -> Result:
    classes = level2.quota_class_limits
    for resource, limit in _checked(command.limits, ALL_LIMITS):
        if command.class_name == DEFAULT_CLASS:
            put_limit(context, DEFAULTS_PROJECT, resource, limit)
            continue
        key = {"class_name": command.class_name, "resource": resource}
        context.write(delete(classes).where(*(classes.c[name] == value for name, value in key.items())))
        context.write(insert(classes), {**key, "hard_limit": limit})
    return {}


def _checked(limits: Mapping[str, int], known: Collection[str]) -> list[tuple[str, int]]:
    for resource, limit in sorted(limits.items()):
        if resource not in known:
            reject("invalid", f"Quota resource {resource} is unknown.")
        if limit < UNLIMITED:
            reject("invalid", f"Quota limit {limit} for {resource} must be -1 or greater.")
    return sorted(limits.items())

"""Quota limits."""

from __future__ import annotations

from sqlalchemy import delete, insert

from fabric.core.quotas.model import DEFAULT_LIMITS
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject
from fabric.store.apply.lookups import need_project
from fabric.store.apply.quota import UNLIMITED
from fabric.store.apply.registry import handles
from proto.commands.quotas import QuotaReset, QuotaSet


@handles(QuotaSet, lambda command: command.project_id)
def set_quota(context: ApplyContext, command: QuotaSet) -> Result:
    need_project(context, command.project_id)
    for resource, limit in sorted(command.limits.items()):
        if resource not in DEFAULT_LIMITS:
            reject("invalid", f"Quota resource {resource} is unknown.")
        if limit < UNLIMITED:
            reject("invalid", f"Quota limit {limit} for {resource} must be -1 or greater.")
        key = (t.quota_limits.c.project_id == command.project_id) & (t.quota_limits.c.resource == resource)
        context.write(delete(t.quota_limits).where(key))
        context.write(
            insert(t.quota_limits),
            {"project_id": command.project_id, "resource": resource, "hard_limit": limit},
        )
    return {}


@handles(QuotaReset, lambda command: command.project_id)
def reset_quota(context: ApplyContext, command: QuotaReset) -> Result:
    need_project(context, command.project_id)
    context.write(delete(t.quota_limits).where(t.quota_limits.c.project_id == command.project_id))
    return {}

"""Quota classes. The class `default` is what every project has that nobody has set any for; others are kept
and shown as Nova does, and used by nobody."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.limits import check_numbers
from fabric.control.propose import propose
from fabric.core.quotas.model import GetQuotaClass
from proto.commands.quotas import QuotaClassSet


async def show_class(cloud: Cloud, caller: Caller, name: str) -> Mapping[str, int]:
    """Limits by resource. Raises: ForbiddenError."""
    policy.require(caller, "compute:quota_classes:show")
    return await cloud.state.read(GetQuotaClass(class_name=name))


async def set_class(cloud: Cloud, caller: Caller, name: str, limits: Mapping[str, int]) -> Mapping[str, int]:
    """Merged into what is set. Raises: ForbiddenError, InvalidError."""
    policy.require(caller, "compute:quota_classes:update")
    check_numbers(limits)
    if limits:
        command = QuotaClassSet(class_name=name, limits=dict(limits))
        await propose(cloud, command, request_id=caller.request_id)
    return await cloud.state.read(GetQuotaClass(class_name=name))

"""Quota limits. Usage is counted from live rows, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import ProjectId, UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSet(Command):
    """Limits of one project by resource name, merged into what is set. -1: no limit."""

    KIND = "quota.set"
    project_id: ProjectId
    limits: Mapping[str, int]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSetOf(Command):
    """The same of any resource, and of one user in the project where `user_id` is given.

    Rejected: `not_found` (project, user), `invalid` (a name no quota has, or none that users have)."""

    KIND = "quota.set@2"
    LEVEL = 2
    project_id: ProjectId
    user_id: UserId | None = None
    limits: Mapping[str, int]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaReset(Command):
    """Back to the defaults."""

    KIND = "quota.reset"
    project_id: ProjectId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaResetOf(Command):
    """Of those resources alone; of one user where `user_id` is given, else of the project and all its users.

    Rejected: `not_found` (project)."""

    KIND = "quota.reset@2"
    LEVEL = 2
    project_id: ProjectId
    user_id: UserId | None = None
    resources: tuple[str, ...]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaClassSet(Command):
    """Limits of a quota class, merged into what is set. The class `default` is every project's defaults.

    Rejected: `invalid` (a name no quota has)."""

    KIND = "quota_class.set"
    LEVEL = 2
    class_name: str
    limits: Mapping[str, int]

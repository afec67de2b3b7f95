"""Quota limits. Usage is counted from live rows, never stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proto.commands.base import Command, command
from proto.ids import ProjectId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaSet(Command):
    """Limits of one project by resource name, merged into what is set. -1: no limit."""

    KIND = "quota.set"
    project_id: ProjectId
    limits: Mapping[str, int]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaReset(Command):
    """Back to the defaults."""

    KIND = "quota.reset"
    project_id: ProjectId

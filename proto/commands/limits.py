"""Unified limits: the limits of quotas in Keystone's words. A number of -1: no limit.

What is the same limit in both dialects: `fabric/core/quotas/unified.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from proto.commands.base import Command, command


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRegisteredLimit:
    limit_id: str
    service_type: str
    resource_name: str
    region_id: str | None = None
    default_limit: int
    description: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLimit:
    owner_id: str  # a project's id, or a domain's
    service_type: str
    resource_name: str
    region_id: str | None = None  # must be its registered limit's
    resource_limit: int
    description: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredLimitsCreate(Command):
    """All or none. Rejected: `conflict` (registered already)."""

    KIND = "registered_limit.create"
    LEVEL = 2
    limits: tuple[NewRegisteredLimit, ...]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredLimitUpdate(Command):
    """What it is from now on. `former_default`: what becomes of the default of the resource it leaves, where
    it is registered for another; None: it has none any more.

    Rejected: `not_found`, `conflict` (another is registered for that resource), `forbidden` (it has limits,
    or it would turn one of the fabric's own into something else)."""

    KIND = "registered_limit.update"
    LEVEL = 2
    limit: NewRegisteredLimit
    former_default: int | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredLimitDelete(Command):
    """`former_default`: as above. Rejected: `not_found`, `forbidden` (it has limits, or is the fabric's
    own)."""

    KIND = "registered_limit.delete"
    LEVEL = 2
    limit_id: str
    former_default: int | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsCreate(Command):
    """All or none. Rejected: `not_found` (owner), `forbidden` (nothing is registered for it), `conflict` (the
    owner has that limit already)."""

    KIND = "limit.create"
    LEVEL = 2
    limits: tuple[NewLimit, ...]


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitUpdate(Command):
    """What it is from now on. Rejected: `not_found`."""

    KIND = "limit.update"
    LEVEL = 2
    owner_id: str
    resource: str
    resource_limit: int
    description: str | None = None


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class LimitDelete(Command):
    """Rejected: `not_found`."""

    KIND = "limit.delete"
    LEVEL = 2
    owner_id: str
    resource: str

"""The roles this node says it holds. The mesh hears at once of one that is taken or given up."""

from __future__ import annotations

from typing import Protocol

from fabric.core.membership.model import RoleClaim


class Publisher(Protocol):
    def publish(self, *, roles: tuple[RoleClaim, ...] | None = None, urgent: bool = False) -> None: ...


class RoleClaims:
    def __init__(self, fleet: Publisher) -> None:
        self._fleet = fleet
        self._held: dict[str, RoleClaim] = {}

    def set(self, role: str, claim: RoleClaim | None) -> None:
        """None: held no more."""
        before = dict(self._held)
        if claim is None:
            self._held.pop(role, None)
        else:
            self._held[role] = claim
        if self._held != before:
            self._fleet.publish(roles=tuple(self._held.values()), urgent=True)

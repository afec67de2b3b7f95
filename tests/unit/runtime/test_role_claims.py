"""The mesh hears of a role that is taken or given up, and of nothing else."""

from __future__ import annotations

from fabric.core.membership.model import RoleClaim
from fabric.runtime.role_claims import RoleClaims
from proto.ids import Fence


class Told:
    def __init__(self) -> None:
        self.words: list[tuple[tuple[RoleClaim, ...] | None, bool]] = []

    def publish(self, *, roles: tuple[RoleClaim, ...] | None = None, urgent: bool = False) -> None:
        self.words.append((roles, urgent))


def claim(role: str, fence: int = 1) -> RoleClaim:
    return RoleClaim(role=role, fence=Fence(fence), since_ms=7)


def test_each_change_is_told_at_once_and_whole() -> None:
    told = Told()
    claims = RoleClaims(told)
    claims.set("conductor", claim("conductor"))
    claims.set("scheduler", claim("scheduler"))
    claims.set("scheduler", claim("scheduler", 2))
    claims.set("conductor", None)
    claims.set("scheduler", None)
    both = (claim("conductor"), claim("scheduler"))
    newer = (claim("conductor"), claim("scheduler", 2))
    assert [roles for roles, _ in told.words] == [both[:1], both, newer, newer[1:], ()]
    assert all(urgent for _, urgent in told.words)


def test_what_changes_nothing_is_not_told() -> None:
    told = Told()
    claims = RoleClaims(told)
    claims.set("api", None)
    claims.set("api", claim("api"))
    claims.set("api", claim("api"))
    assert len(told.words) == 1

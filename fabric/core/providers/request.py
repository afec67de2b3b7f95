"""What `GET /allocation_candidates` asks for, once it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.providers.model import Amounts

GROUPS_MAX = 32  # of one request


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberOf:
    """Aggregates a provider must be in: one of each set in `any_of`, none of `none_of`."""

    any_of: tuple[frozenset[str], ...] = ()
    none_of: frozenset[str] = frozenset()

    def lets(self, aggregates: frozenset[str]) -> bool:
        return not aggregates & self.none_of and all(aggregates & one_of for one_of in self.any_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """One of each set in `any_of` (a plain requirement is a set of one), none of `none_of`."""

    any_of: tuple[frozenset[str], ...] = ()
    none_of: frozenset[str] = frozenset()

    def lets(self, traits: frozenset[str]) -> bool:
        return not traits & self.none_of and all(traits & one_of for one_of in self.any_of)

    def named(self) -> frozenset[str]:
        return self.none_of.union(*self.any_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRequest:
    """One group. Suffix "": classes may come from several providers of a tree; any other: from one."""

    suffix: str = ""
    resources: Amounts = field(default_factory=dict)
    traits: Traits = field(default_factory=Traits)
    member_of: MemberOf = field(default_factory=MemberOf)
    in_tree: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateRequest:
    """`same_subtree`: sets of suffixes; of each one's providers one is above all the others."""

    groups: tuple[GroupRequest, ...]
    isolates: bool = False  # group_policy
    same_subtree: tuple[frozenset[str], ...] = ()
    root: Traits = field(default_factory=Traits)
    limit: int | None = None
    is_nested: bool = True  # False: clients below 1.29 know no trees


@dataclass(frozen=True, slots=True, kw_only=True)
class AllocationRequest:
    """One way to get all of it. `mappings`: suffix -> providers that serve the group, sorted."""

    allocations: Mapping[str, Amounts]  # provider id -> class -> amount
    mappings: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """`is_whole` False: the search was ended at its bound, and there may be more."""

    requests: tuple[AllocationRequest, ...]
    is_whole: bool = True

"""The query of GET /allocation_candidates, read into what it asks for."""

from __future__ import annotations

import re

from multidict import MultiMapping

from fabric.api.faults import ApiError
from fabric.api.microversion import Microversion
from fabric.api.placement.filters import parse_member_of, parse_resources, parse_traits
from fabric.api.placement.versions import v
from fabric.core.providers.request import GROUPS_MAX, CandidateRequest, GroupRequest

_PART = re.compile(r"(resources|required|member_of|in_tree)([A-Za-z0-9_-]{0,64})")


def parse_candidate_query(query: MultiMapping[str], version: Microversion) -> CandidateRequest:
    """Of a query that its schema let pass. Raises ApiError."""
    groups = _groups(query, version)
    subtrees = _subtrees(query, {group.suffix for group in groups})
    together = frozenset().union(*subtrees)
    if not any(group.resources for group in groups):
        raise ApiError(400, "At least one request group (`resources` or `resources{$S}`) is required.")
    for group in groups:
        if not group.resources and (not group.suffix or group.suffix not in together):
            raise ApiError(
                400,
                f"All traits, aggregates and trees must be of a group with resources: "
                f"resources{group.suffix} is missing.",
            )
    numbered = [group for group in groups if group.suffix and group.resources]
    policy = query.get("group_policy")
    if len(numbered) > 1 and policy is None:
        raise ApiError(
            400,
            'The "group_policy" parameter is required when specifying more than one "resources{N}" '
            "parameter.",
        )
    root = parse_traits(query.getall("root_required", []), version, "root_required", any_of=False)
    limit = query.get("limit")
    return CandidateRequest(
        groups=tuple(groups),
        isolates=policy == "isolate",
        same_subtree=tuple(subtrees),
        root=root,
        limit=None if limit is None else int(limit),
        is_nested=version >= v(29),
    )


def _groups(query: MultiMapping[str], version: Microversion) -> list[GroupRequest]:
    suffixes = {found[2] for name in query if (found := _PART.fullmatch(name)) is not None}
    if len(suffixes) > GROUPS_MAX:
        raise ApiError(400, f"More than {GROUPS_MAX} request groups.")
    return [_group(query, version, suffix) for suffix in sorted(suffixes)]


def _group(query: MultiMapping[str], version: Microversion, suffix: str) -> GroupRequest:
    resources = _one(query, f"resources{suffix}")
    in_tree = _one(query, f"in_tree{suffix}")
    required, member_of = query.getall(f"required{suffix}", []), query.getall(f"member_of{suffix}", [])
    if len(required) > 1 and version < v(39):
        raise ApiError(400, f"required{suffix} may be given once only; from 1.39 on repeatedly.")
    return GroupRequest(
        suffix=suffix,
        resources={} if resources is None else parse_resources(resources, f"resources{suffix}"),
        traits=parse_traits(required, version, f"required{suffix}"),
        member_of=parse_member_of(member_of, version, f"member_of{suffix}"),
        in_tree=None if in_tree is None else in_tree.lower(),
    )


def _one(query: MultiMapping[str], name: str) -> str | None:
    values = query.getall(name, [])
    if len(values) > 1:
        raise ApiError(400, f"{name} may be given once only.")
    return values[0] if values else None


def _subtrees(query: MultiMapping[str], suffixes: set[str]) -> list[frozenset[str]]:
    found = []
    for text in query.getall("same_subtree", []):
        named = text.split(",")
        unknown = [each for each in named if not each or each not in suffixes]
        if unknown:
            raise ApiError(
                400,
                f"Real suffixes should be specified in same_subtree: {', '.join(unknown)[:200]} "
                "not found in any request group.",
            )
        if len(set(named)) != len(named):
            raise ApiError(400, f"A suffix is given twice in same_subtree: {text[:200]}.")
        found.append(frozenset(named))
    return found

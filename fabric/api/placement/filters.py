"""The little languages in Placement's query strings: resources, required, member_of."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from fabric.api.faults import ApiError
from fabric.api.microversion import Microversion
from fabric.api.placement.versions import v
from fabric.core.placement.resources import amount_of
from fabric.core.providers.request import MemberOf, Traits
from proto.ids import is_uuid

_CLASS = re.compile(r"[A-Z0-9_]{1,255}")
_ANY_OF, _NOT = "in:", "!"


def parse_resources(text: str, name: str = "resources") -> Mapping[str, int]:
    """ "VCPU:2,MEMORY_MB:512". Raises ApiError."""
    found: dict[str, int] = {}
    for part in text.split(","):
        resource_class, _, number = part.partition(":")
        amount = amount_of(number)
        if _CLASS.fullmatch(resource_class) is None or amount is None:
            raise ApiError(
                400,
                f"Badly formed {name} parameter. Expected {name} query string parameter in form: "
                f"?{name}=VCPU:2,MEMORY_MB:1024. Got: {text[:200]}.",
            )
        if amount < 1:
            raise ApiError(400, f"Requested resource {resource_class} expected at least 1, got {amount}.")
        if resource_class in found:
            raise ApiError(400, f"{name}: {resource_class} is given twice.")
        found[resource_class] = amount
    return found


def parse_traits(
    values: Sequence[str], version: Microversion, name: str = "required", *, any_of: bool = True
) -> Traits:
    """ "T1,!T2" and, from 1.39, "in:T3,T4". Raises ApiError."""
    needed: list[frozenset[str]] = []
    refused: set[str] = set()
    for text in values:
        if text.startswith(_ANY_OF) and any_of and version >= v(39):
            needed.append(frozenset(_trait(part, text, name) for part in text[len(_ANY_OF) :].split(",")))
            continue
        for part in text.split(","):
            if part.startswith(_NOT) and version >= v(22):
                refused.add(_trait(part[1:], text, name))
            else:
                needed.append(frozenset({_trait(part, text, name)}))
    clash = sorted(refused & {trait for one in needed if len(one) == 1 for trait in one})
    if clash:
        raise ApiError(
            400, f"Conflicting required and forbidden traits found in the {name}: {', '.join(clash)}."
        )
    return Traits(any_of=tuple(needed), none_of=frozenset(refused))


def parse_member_of(values: Sequence[str], version: Microversion, name: str = "member_of") -> MemberOf:
    """ "A", "in:A,B" and, from 1.32, "!A", "!in:A,B". Raises ApiError."""
    any_of: list[frozenset[str]] = []
    none_of: set[str] = set()
    for text in values:
        is_refused = text.startswith(_NOT)
        if is_refused and version < v(32):
            raise ApiError(400, f"Forbidden {name} parameters are not supported before 1.32.")
        rest = text.removeprefix(_NOT)
        several = rest.startswith(_ANY_OF)
        ids = rest.removeprefix(_ANY_OF).lower().split(",")
        if not several and len(ids) > 1:
            raise ApiError(
                400, f"Multiple values for {name} must be prefixed with the 'in:' or '!in:' keyword."
            )
        bad = [each for each in ids if not is_uuid(each)]
        if bad:
            raise ApiError(400, f"Invalid uuid value: {bad[0][:64]} in {name}.")
        if is_refused:
            none_of.update(ids)
        else:
            any_of.append(frozenset(ids))
    return MemberOf(any_of=tuple(any_of), none_of=frozenset(none_of))


def _trait(text: str, whole: str, name: str) -> str:
    if _CLASS.fullmatch(text) is None:
        raise ApiError(
            400,
            f"Invalid '{name}' parameter. Expected in form: ?{name}=HW_CPU_X86_VMX,CUSTOM_MAGIC. "
            f"Got: {whole[:200]}",
        )
    return text

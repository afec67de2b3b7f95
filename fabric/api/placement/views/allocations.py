"""Allocations, usages and candidates as JSON, and allocations out of bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.api.microversion import Microversion
from fabric.api.placement.versions import v
from fabric.api.placement.views.providers import generation
from fabric.control.placement.allocations import UNKNOWN, TypeUsage
from fabric.core.providers.model import INCOMPLETE_ID, Consumer
from fabric.core.providers.request import AllocationRequest, CandidateRequest, Candidates
from fabric.core.providers.tree import Forest, Provider
from proto.commands.providers import ConsumerHolds, Held


def of_consumer(value: Consumer | None, forest: Forest, version: Microversion) -> dict[str, Any]:
    """What nobody holds is an empty answer, not an error."""
    if value is None:
        return {"allocations": {}}
    shown: dict[str, Any] = {}
    for provider_id, held in value.allocations.items():
        provider = forest.get(provider_id)
        at = 0 if provider is None else provider.generation
        shown[provider_id] = {"resources": dict(held), "generation": at}
    result: dict[str, Any] = {"allocations": shown}
    if version >= v(12):
        result |= {"project_id": value.project_id, "user_id": value.user_id}
    if version >= v(28):
        result["consumer_generation"] = value.generation
    if version >= v(38):
        result["consumer_type"] = value.consumer_type or UNKNOWN
    return result


def of_provider(value: Provider, holders: tuple[Consumer, ...], version: Microversion) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for each in holders:
        shown[each.consumer_id] = {"resources": dict(each.allocations[value.provider_id])}
        if version >= v(28):
            shown[each.consumer_id]["consumer_generation"] = each.generation
    return {"allocations": shown, **generation(value)}


def usages(found: Mapping[str, TypeUsage], version: Microversion) -> dict[str, Any]:
    if version < v(38):
        total: dict[str, int] = {}
        for usage in found.values():
            for name, amount in usage.used.items():
                total[name] = total.get(name, 0) + amount
        return {"usages": total}
    return {
        "usages": {kind: {**usage.used, "consumer_count": usage.consumers} for kind, usage in found.items()}
    }


def candidates(
    found: Candidates, forest: Forest, request: CandidateRequest, version: Microversion
) -> dict[str, Any]:
    shown: dict[str, Provider] = {}
    for each in found.requests:
        served = {provider_id for ids in each.mappings.values() for provider_id in ids}
        for provider_id in sorted({*each.allocations, *served}):
            tree = forest.tree_of(provider_id) if version >= v(29) else ()
            for provider in tree or (forest.get(provider_id),):
                if provider is not None:
                    shown.setdefault(provider.provider_id, provider)
    asked = {name for group in request.groups for name in group.resources}
    return {
        "allocation_requests": [_request(each, version) for each in found.requests],
        "provider_summaries": {key: _summary(each, asked, version) for key, each in shown.items()},
    }


def _request(value: AllocationRequest, version: Microversion) -> dict[str, Any]:
    if version < v(12):
        return {
            "allocations": [
                {"resource_provider": {"uuid": provider_id}, "resources": dict(held)}
                for provider_id, held in value.allocations.items()
            ]
        }
    allocations = {provider_id: {"resources": dict(held)} for provider_id, held in value.allocations.items()}
    if version < v(34):
        return {"allocations": allocations}
    mappings = {suffix: list(ids) for suffix, ids in value.mappings.items()}
    return {"allocations": allocations, "mappings": mappings}


def _summary(value: Provider, asked: set[str], version: Microversion) -> dict[str, Any]:
    """Before 1.27 only of classes that were asked for."""
    result: dict[str, Any] = {
        "resources": {
            name: {"capacity": each.capacity, "used": value.used.get(name, 0)}
            for name, each in value.inventories.items()
            if version >= v(27) or name in asked
        }
    }
    if version >= v(17):
        result["traits"] = sorted(value.traits)
    if version >= v(29):
        result |= {"parent_provider_uuid": value.parent_id, "root_provider_uuid": value.root_id}
    return result


def holds_from(consumer_id: str, plain: Mapping[str, Any], version: Microversion) -> ConsumerHolds:
    """Of a body that its schema let pass."""
    allocations = plain["allocations"]
    if isinstance(allocations, list):
        pairs = [(each["resource_provider"]["uuid"], each["resources"]) for each in allocations]
    else:
        pairs = [(provider_id, each["resources"]) for provider_id, each in allocations.items()]
    held: dict[tuple[str, str], int] = {}
    for provider_id, resources in pairs:
        for name, amount in resources.items():
            held[uuid_from(provider_id), name] = amount
    return ConsumerHolds(
        consumer_id=consumer_id,
        project_id=plain.get("project_id", INCOMPLETE_ID),
        user_id=plain.get("user_id", INCOMPLETE_ID),
        consumer_type=plain.get("consumer_type"),
        generation=plain.get("consumer_generation"),
        checks_generation=version >= v(28),
        held=tuple(
            Held(provider_id=provider_id, resource_class=name, used=held[provider_id, name])
            for provider_id, name in sorted(held)
        ),
    )


def uuid_from(text: str) -> str:
    """In the form ids have here; the schema let both pass."""
    plain = text.lower().replace("-", "")
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"

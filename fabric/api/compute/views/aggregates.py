"""An aggregate as JSON."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.versions import v
from fabric.api.compute.views.times import micros
from fabric.api.microversion import Microversion
from fabric.control.aggregates import NamedAggregate


def created(value: NamedAggregate, version: Microversion) -> dict[str, Any]:
    """Without hosts and metadata, as Nova's answer to POST always was."""
    aggregate = value.aggregate
    result: dict[str, Any] = {
        "id": aggregate.aggregate_id,
        "name": aggregate.name,
        "availability_zone": aggregate.availability_zone,
        "created_at": micros(aggregate.created_ms),
        "updated_at": micros(aggregate.updated_ms),
        "deleted": False,
        "deleted_at": None,
    }
    if version >= v(41):
        result["uuid"] = aggregate.uuid
    return result


def shown(value: NamedAggregate, version: Microversion) -> dict[str, Any]:
    return created(value, version) | {
        "hosts": list(value.hosts),
        "metadata": dict(value.aggregate.metadata),
    }

"""Quota sets, services, hypervisors: bodies and queries at each microversion."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import BOOLEAN, NODE_NAME, integer, wrapped
from fabric.api.compute.versions import v
from fabric.api.compute.views.quotas import class_settable, settable
from fabric.api.microversion import Microversion
from fabric.api.validation import Schema, multi

_REASON: Schema = {"type": "string", "minLength": 1, "maxLength": 255}


def _quota_body(version: Microversion) -> dict[str, Any]:
    limits: dict[str, Any] = {name: integer(-1) for name in sorted(settable(version))}
    return wrapped(
        "quota_set", limits | {"force": BOOLEAN, "tenant_id": {"type": "string", "maxLength": 255}}
    )


def _class_body(version: Microversion) -> dict[str, Any]:
    return wrapped("quota_class_set", {name: integer(-1) for name in sorted(class_settable(version))})


QUOTA_UPDATE = tuple((version, _quota_body(version)) for version in (v(1), v(36), v(57)))
QUOTA_CLASS_UPDATE = tuple((version, _class_body(version)) for version in (v(1), v(50), v(57)))

_PARAMETER = multi({"type": "string", "maxLength": 255})


def query(*names: str, strict: bool = False) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _PARAMETER),
        "additionalProperties": False if strict else _PARAMETER,
    }


USER_QUERY = ((v(1), query("user_id")), (v(75), query("user_id", strict=True)))
LIMITS_QUERY = (
    (v(1), query("tenant_id", "reserved")),
    (v(75), query("tenant_id", "reserved", strict=True)),
)
SERVICES_QUERY = ((v(1), query("host", "binary")), (v(75), query("host", "binary", strict=True)))
HYPERVISORS_QUERY = (
    (v(1), query()),
    (v(33), query("limit", "marker")),
    (v(53), query("limit", "marker", "hypervisor_hostname_pattern", "with_servers", strict=True)),
)
HYPERVISOR_QUERY = ((v(1), query()), (v(53), query("with_servers", strict=True)))


def _flat(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_BY_HOST = {"host": NODE_NAME, "binary": {"type": "string", "minLength": 1, "maxLength": 255}}
SERVICE_SWITCH = _flat(dict(_BY_HOST), "host", "binary")
SERVICE_DISABLE_REASON = _flat(_BY_HOST | {"disabled_reason": _REASON}, "host", "binary", "disabled_reason")
SERVICE_FORCE_DOWN = _flat(_BY_HOST | {"forced_down": BOOLEAN}, "host", "binary", "forced_down")
SERVICE_UPDATE = _flat(
    {
        "status": {"type": "string", "enum": ["enabled", "disabled"]},
        "disabled_reason": _REASON,
        "forced_down": BOOLEAN,
    }
) | {"minProperties": 1}

"""/os-services and /os-availability-zone."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.compute.schemas.parameters import as_boolean
from fabric.api.compute.versions import v
from fabric.api.compute.views import services as view
from fabric.api.faults import ApiError
from fabric.api.request import body, caller, cloud, microversion
from fabric.api.responses import empty_response, json_response
from fabric.control import services, zones
from fabric.control.services import Service
from proto.ids import is_uuid


async def index(request: web.Request) -> web.Response:
    query = request.query
    found = await services.list_services(
        cloud(request), caller(request), node_name=query.get("host"), binary=query.get("binary")
    )
    version = microversion(request)
    return json_response({"services": [view.service(each, version) for each in found]})


async def update(request: web.Request) -> web.Response:
    """From 2.53: by uuid, one call for everything."""
    wanted = body(request)
    status, reason = wanted.get("status"), wanted.get("disabled_reason")
    if reason is not None and status != "disabled":
        raise ApiError(400, "Specifying disabled_reason requires that status is 'disabled'.")
    service = await services.find_service(cloud(request), caller(request), _service_uuid(request))
    changed = await services.update_service(
        cloud(request),
        caller(request),
        service,
        enabled=None if status is None else status == "enabled",
        disabled_reason=reason,
        forced_down=as_boolean(wanted["forced_down"]) if "forced_down" in wanted else None,
    )
    return json_response({"service": view.service(changed, microversion(request))})


async def switch(request: web.Request) -> web.Response:
    """Below 2.53: by host and binary, a call for each thing, an answer that names only that thing."""
    wanted, what = body(request), request.match_info["what"]
    service = await services.find_by_host(cloud(request), caller(request), wanted["host"], wanted["binary"])
    changed = await services.update_service(
        cloud(request),
        caller(request),
        service,
        enabled=None if what == "force-down" else what == "enable",
        disabled_reason=wanted.get("disabled_reason"),
        forced_down=as_boolean(wanted["forced_down"]) if what == "force-down" else None,
    )
    return json_response({"service": _switched(changed, what)})


def _switched(service: Service, what: str) -> dict[str, Any]:
    assert service.host is not None, "only hosts can be switched"
    result: dict[str, Any] = {"host": service.node_name, "binary": service.binary}
    if what == "force-down":
        return result | {"forced_down": service.host.forced_down}
    result["status"] = "enabled" if service.host.enabled else "disabled"
    if what == "disable-log-reason":
        result["disabled_reason"] = service.host.disabled_reason
    return result


async def delete(request: web.Request) -> web.Response:
    await services.delete_service(cloud(request), caller(request), _service_uuid(request))
    return empty_response(204)


def _service_uuid(request: web.Request) -> str:
    identity = request.match_info["service_id"]
    if microversion(request) >= v(53) and not is_uuid(identity):
        raise ApiError(400, f"Invalid uuid {identity[:64]}")
    return identity


async def list_zones(request: web.Request) -> web.Response:
    found = await zones.list_zones(cloud(request), caller(request))
    return json_response({"availabilityZoneInfo": [view.zone(each, with_hosts=False) for each in found]})


async def list_zones_with_hosts(request: web.Request) -> web.Response:
    found = await zones.list_zones_with_hosts(cloud(request), caller(request))
    return json_response({"availabilityZoneInfo": [view.zone(each, with_hosts=True) for each in found]})

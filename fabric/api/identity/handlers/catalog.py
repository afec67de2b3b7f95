"""/v3/services, /v3/endpoints and /v3/regions: the catalog, to read."""

from __future__ import annotations

from aiohttp import web

from fabric.api.identity.handlers.query import self_href
from fabric.api.identity.views.catalog import endpoint_view, region_view, service_view
from fabric.api.identity.views.collection import collection
from fabric.api.request import base_url, caller, cloud
from fabric.api.responses import json_response
from fabric.control import policy
from fabric.control.errors import NotFoundError
from fabric.control.service_catalog import CatalogEndpoint, CatalogService, service_catalog


async def service_index(request: web.Request) -> web.Response:
    query = request.query
    views = [
        service_view(service, base_url(request))
        for service in _services(request)
        if query.get("type", service.type) == service.type and query.get("name", service.name) == service.name
    ]
    return json_response(collection("services", views, self_href(request)))


async def service_show(request: web.Request) -> web.Response:
    wanted = request.match_info["service_id"]
    for service in _services(request):
        if service.service_id == wanted:
            return json_response({"service": service_view(service, base_url(request))})
    raise NotFoundError(f"Could not find service: {wanted}.")


async def endpoint_index(request: web.Request) -> web.Response:
    query = request.query
    views = [
        endpoint_view(endpoint, base_url(request))
        for endpoint in _endpoints(request)
        if query.get("service_id", endpoint.service_id) == endpoint.service_id
        and query.get("interface", endpoint.interface) == endpoint.interface
        and query.get("region_id", query.get("region", endpoint.region)) == endpoint.region
    ]
    return json_response(collection("endpoints", views, self_href(request)))


async def endpoint_show(request: web.Request) -> web.Response:
    wanted = request.match_info["endpoint_id"]
    for endpoint in _endpoints(request):
        if endpoint.endpoint_id == wanted:
            return json_response({"endpoint": endpoint_view(endpoint, base_url(request))})
    raise NotFoundError(f"Could not find endpoint: {wanted}.")


async def region_index(request: web.Request) -> web.Response:
    policy.require(caller(request), "identity:catalog:list")
    views = [region_view(cloud(request).region, base_url(request))]
    return json_response(collection("regions", views, self_href(request)))


async def region_show(request: web.Request) -> web.Response:
    policy.require(caller(request), "identity:catalog:list")
    wanted = request.match_info["region_id"]
    if wanted != cloud(request).region:
        raise NotFoundError(f"Could not find region: {wanted}.")
    return json_response({"region": region_view(wanted, base_url(request))})


def _services(request: web.Request) -> tuple[CatalogService, ...]:
    policy.require(caller(request), "identity:catalog:list")
    return service_catalog(base_url(request), cloud(request).region)


def _endpoints(request: web.Request) -> list[CatalogEndpoint]:
    return [endpoint for service in _services(request) for endpoint in service.endpoints]

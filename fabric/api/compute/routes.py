"""Compute below its mount: one table. Version documents are in `fabric/api/versions.py`."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from fabric.api.compute.handlers import (
    aggregates,
    flavors,
    hypervisors,
    keypairs,
    legacy,
    live_moves,
    moves,
    quotas,
    server_actions,
    server_create,
    server_groups,
    server_metadata,
    server_tags,
    servers,
    services,
    shares,
)
from fabric.api.compute.schemas import admin
from fabric.api.compute.schemas import aggregates as aggregate_schemas
from fabric.api.compute.schemas import flavors as flavor_schemas
from fabric.api.compute.schemas import keypairs as keypair_schemas
from fabric.api.compute.schemas import moves as move_schemas
from fabric.api.compute.schemas import server_actions as action_schemas
from fabric.api.compute.schemas import server_groups as group_schemas
from fabric.api.compute.schemas import servers as server_schemas
from fabric.api.compute.schemas.parameters import NO_QUERY
from fabric.api.compute.schemas.shares import SHARE
from fabric.api.compute.versions import v
from fabric.api.faults import NOVA, ApiError
from fabric.api.request import caller
from fabric.api.routing import Handler, Route, build_app

_ROOT = "/v2.1"
_SERVER = f"{_ROOT}/servers/{{server_id}}"
_MIGRATION = f"{_SERVER}/migrations/{{migration_id}}"
_SHARES = f"{_SERVER}/shares"
_SHARE = f"{_SHARES}/{{share_id}}"
_FLAVOR = f"{_ROOT}/flavors/{{flavor_id}}"
_QUOTA = f"{_ROOT}/os-quota-sets/{{project_id}}"
_QUOTA_CLASS = f"{_ROOT}/os-quota-class-sets/{{name}}"
_SERVICES = f"{_ROOT}/os-services"
_HYPERVISORS = f"{_ROOT}/os-hypervisors"
_ONE_HYPERVISOR = f"{_HYPERVISORS}/{{hypervisor_id}}"
_GROUPS = f"{_ROOT}/os-server-groups"
_GROUP = f"{_GROUPS}/{{group_id}}"
_AGGREGATES = f"{_ROOT}/os-aggregates"
_AGGREGATE = f"{_AGGREGATES}/{{aggregate_id}}"

_SERVERS: tuple[Route, ...] = (
    Route("GET", f"{_ROOT}/servers", servers.index, query=server_schemas.LIST_QUERY),
    Route("POST", f"{_ROOT}/servers", server_create.create, body=server_schemas.CREATE),
    Route("GET", f"{_ROOT}/servers/detail", servers.detail, query=server_schemas.LIST_QUERY),
    Route("GET", _SERVER, servers.show),
    Route("PUT", _SERVER, servers.update, body=server_schemas.UPDATE),
    Route("DELETE", _SERVER, servers.delete),
    Route("POST", f"{_SERVER}/action", server_actions.act, body=action_schemas.ACTION),
)

_OF_SERVERS: tuple[Route, ...] = (
    Route("GET", f"{_SERVER}/ips", servers.addresses),
    Route("GET", f"{_SERVER}/ips/{{network}}", servers.addresses_on),
    Route("GET", f"{_SERVER}/os-security-groups", servers.security_groups),
    Route("GET", f"{_SERVER}/metadata", server_metadata.index),
    Route("POST", f"{_SERVER}/metadata", server_metadata.merge, body=server_schemas.METADATA_BODY),
    Route("PUT", f"{_SERVER}/metadata", server_metadata.replace, body=server_schemas.METADATA_BODY),
    Route("GET", f"{_SERVER}/metadata/{{key}}", server_metadata.show),
    Route("PUT", f"{_SERVER}/metadata/{{key}}", server_metadata.set_one, body=server_schemas.META_BODY),
    Route("DELETE", f"{_SERVER}/metadata/{{key}}", server_metadata.remove),
    Route("GET", f"{_SERVER}/migrations", live_moves.index, since=v(23)),
    Route("GET", _MIGRATION, live_moves.show, since=v(23)),
    Route("DELETE", _MIGRATION, live_moves.delete, since=v(24)),
    Route("POST", f"{_MIGRATION}/action", live_moves.act, since=v(22), body=move_schemas.FORCE_COMPLETE),
    Route("GET", f"{_SERVER}/tags", server_tags.index, since=v(26)),
    Route("PUT", f"{_SERVER}/tags", server_tags.replace, since=v(26), body=server_schemas.TAGS_BODY),
    Route("DELETE", f"{_SERVER}/tags", server_tags.clear, since=v(26)),
    Route("GET", f"{_SERVER}/tags/{{tag}}", server_tags.check, since=v(26)),
    Route("PUT", f"{_SERVER}/tags/{{tag}}", server_tags.add, since=v(26)),
    Route("DELETE", f"{_SERVER}/tags/{{tag}}", server_tags.remove, since=v(26)),
    Route("GET", _SHARES, shares.index, since=v(97), query=NO_QUERY),
    Route("POST", _SHARES, shares.attach, since=v(97), body=SHARE),
    Route("GET", _SHARE, shares.show, since=v(97), query=NO_QUERY),
    Route("DELETE", _SHARE, shares.detach, since=v(97)),
)

_VOLUMES_BOOT = tuple(  # what it was called when servers that boot from volumes were an extension
    replace(route, path=route.path.replace("/servers", "/os-volumes_boot", 1), until=v(102))
    for route in _SERVERS
)

_FLAVORS: tuple[Route, ...] = (
    Route("GET", f"{_ROOT}/flavors", flavors.index, query=flavor_schemas.LIST_QUERY),
    Route("POST", f"{_ROOT}/flavors", flavors.create, body=flavor_schemas.CREATE),
    Route("GET", f"{_ROOT}/flavors/detail", flavors.detail, query=flavor_schemas.LIST_QUERY),
    Route("GET", _FLAVOR, flavors.show),
    Route("PUT", _FLAVOR, flavors.update, since=v(55), body=flavor_schemas.UPDATE),
    Route("DELETE", _FLAVOR, flavors.delete),
    Route("GET", f"{_FLAVOR}/os-extra_specs", flavors.specs),
    Route("POST", f"{_FLAVOR}/os-extra_specs", flavors.add_specs, body=flavor_schemas.SPECS),
    Route("GET", f"{_FLAVOR}/os-extra_specs/{{key}}", flavors.show_spec),
    Route("PUT", f"{_FLAVOR}/os-extra_specs/{{key}}", flavors.set_spec, body=flavor_schemas.ONE_SPEC),
    Route("DELETE", f"{_FLAVOR}/os-extra_specs/{{key}}", flavors.remove_spec),
    Route("GET", f"{_FLAVOR}/os-flavor-access", flavors.access),
    Route("POST", f"{_FLAVOR}/action", flavors.act, body=flavor_schemas.ACTION),
)

_KEYS_AND_LIMITS: tuple[Route, ...] = (
    Route("GET", f"{_ROOT}/os-keypairs", keypairs.index, query=keypair_schemas.LIST_QUERY),
    Route("POST", f"{_ROOT}/os-keypairs", keypairs.create, body=keypair_schemas.CREATE),
    Route("GET", f"{_ROOT}/os-keypairs/{{name}}", keypairs.show, query=keypair_schemas.ONE_QUERY),
    Route("DELETE", f"{_ROOT}/os-keypairs/{{name}}", keypairs.delete, query=keypair_schemas.ONE_QUERY),
    Route("GET", f"{_ROOT}/limits", quotas.show_limits, query=admin.LIMITS_QUERY),
    Route("GET", _QUOTA, quotas.show, query=admin.USER_QUERY),
    Route("PUT", _QUOTA, quotas.update, query=admin.USER_QUERY, body=admin.QUOTA_UPDATE),
    Route("DELETE", _QUOTA, quotas.delete, query=admin.USER_QUERY),
    Route("GET", f"{_QUOTA}/detail", quotas.detail, query=admin.USER_QUERY),
    Route("GET", f"{_QUOTA}/defaults", quotas.defaults),
    Route("GET", _QUOTA_CLASS, quotas.show_class),
    Route("PUT", _QUOTA_CLASS, quotas.update_class, body=admin.QUOTA_CLASS_UPDATE),
)

_OPERATIONS: tuple[Route, ...] = (
    Route("GET", f"{_ROOT}/os-availability-zone", services.list_zones),
    Route("GET", f"{_ROOT}/os-availability-zone/detail", services.list_zones_with_hosts),
    Route("GET", _SERVICES, services.index, query=admin.SERVICES_QUERY),
    Route(
        "PUT", f"{_SERVICES}/{{what:enable|disable}}", services.switch, until=v(52), body=admin.SERVICE_SWITCH
    ),
    Route(
        "PUT",
        f"{_SERVICES}/{{what:disable-log-reason}}",
        services.switch,
        until=v(52),
        body=admin.SERVICE_DISABLE_REASON,
    ),
    Route(
        "PUT",
        f"{_SERVICES}/{{what:force-down}}",
        services.switch,
        since=v(11),
        until=v(52),
        body=admin.SERVICE_FORCE_DOWN,
    ),
    Route("PUT", f"{_SERVICES}/{{service_id}}", services.update, since=v(53), body=admin.SERVICE_UPDATE),
    Route("DELETE", f"{_SERVICES}/{{service_id}}", services.delete),
    Route("GET", _HYPERVISORS, hypervisors.index, query=admin.HYPERVISORS_QUERY),
    Route("GET", f"{_HYPERVISORS}/detail", hypervisors.detail, query=admin.HYPERVISORS_QUERY),
    Route("GET", f"{_HYPERVISORS}/statistics", hypervisors.statistics, until=v(87)),
    Route("GET", _ONE_HYPERVISOR, hypervisors.show, query=admin.HYPERVISOR_QUERY),
    Route("GET", f"{_ONE_HYPERVISOR}/uptime", hypervisors.uptime, until=v(87)),
    Route("GET", f"{_ONE_HYPERVISOR}/search", hypervisors.search, until=v(52)),
    Route("GET", f"{_ONE_HYPERVISOR}/servers", hypervisors.servers, until=v(52)),
)

_LEGACY: tuple[Route, ...] = (
    Route("GET", f"{_ROOT}/extensions", legacy.extensions),
    Route("GET", f"{_ROOT}/extensions/{{alias}}", legacy.extension),
)

_GROUPINGS: tuple[Route, ...] = (
    Route("GET", _GROUPS, server_groups.index, query=group_schemas.LIST_QUERY),
    Route("POST", _GROUPS, server_groups.create, body=group_schemas.CREATE),
    Route("GET", _GROUP, server_groups.show),
    Route("DELETE", _GROUP, server_groups.delete),
    Route("GET", f"{_ROOT}/os-migrations", moves.index, query=move_schemas.QUERY),
    Route("GET", _AGGREGATES, aggregates.index),
    Route("POST", _AGGREGATES, aggregates.create, body=aggregate_schemas.CREATE),
    Route("GET", _AGGREGATE, aggregates.show),
    Route("PUT", _AGGREGATE, aggregates.update, body=aggregate_schemas.UPDATE),
    Route("DELETE", _AGGREGATE, aggregates.delete),
    Route("POST", f"{_AGGREGATE}/action", aggregates.act, body=aggregate_schemas.ACTION),
    Route(
        "POST", f"{_AGGREGATE}/images", aggregates.cache_images, since=v(81), body=aggregate_schemas.IMAGES
    ),
)


def _strict(route: Route) -> Route:
    """From 2.102 on a GET whose query never meant anything refuses one."""
    if route.method != "GET" or route.query is not None:
        return route
    return replace(route, query=((v(102), NO_QUERY),))


_NAMED: tuple[Route, ...] = tuple(
    _strict(route)
    for table in (
        _SERVERS,
        _OF_SERVERS,
        _VOLUMES_BOOT,
        _FLAVORS,
        _KEYS_AND_LIMITS,
        _OPERATIONS,
        _GROUPINGS,
        _LEGACY,
    )
    for route in table
)


def _with_project(route: Route) -> Route:
    """The same below `/v2.1/{project}`: how every path looked before 2.18, and may look still."""
    path = f"{_ROOT}/{{url_project_id:[0-9a-f]{{32}}|[0-9a-f-]{{36}}}}{route.path.removeprefix(_ROOT)}"
    return replace(route, path=path, handler=_of_own_project(route.handler))


def _of_own_project(handler: Handler) -> Handler:
    async def checked(request: web.Request) -> web.StreamResponse:
        named = request.match_info["url_project_id"]
        if named != caller(request).project_id:
            raise ApiError(
                400,
                f"Malformed request URL: URL's project_id '{named}' doesn't match Context's project_id "
                f"'{caller(request).project_id}'",
            )
        return await handler(request)

    return checked


ROUTES: tuple[Route, ...] = _NAMED + tuple(_with_project(route) for route in _NAMED)


def app() -> web.Application:
    return build_app("compute", ROUTES, NOVA)

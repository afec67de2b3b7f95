"""Network v2.0 below its mount. Version documents are in `fabric/api/versions.py`."""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from fabric.api.faults import NEUTRON
from fabric.api.network.creation import ANY_OBJECT
from fabric.api.network.faults import named
from fabric.api.network.handlers import (
    discovery,
    networks,
    ports,
    quotas,
    security_groups,
    security_rules,
    subnets,
)
from fabric.api.network.schemas import bodies
from fabric.api.routing import Route, build_app

_GROUP = "/v2.0/security-groups/{security_group_id}"
_RULES = "/v2.0/security-group-rules"
_QUOTA = "/v2.0/quotas/{project_id}"

_TABLE: tuple[Route, ...] = (
    Route("GET", "/v2.0", discovery.resources),
    Route("GET", "/v2.0/extensions", discovery.extensions),
    Route("GET", "/v2.0/extensions/{alias}", discovery.extension),
    Route("GET", "/v2.0/agents", discovery.agents),
    Route("GET", "/v2.0/agents/{agent_id}", discovery.agent),
    Route("GET", "/v2.0/availability_zones", discovery.zones),
    Route("GET", "/v2.0/networks", networks.index),
    Route("POST", "/v2.0/networks", networks.create, body=ANY_OBJECT),
    Route("GET", "/v2.0/networks/{network_id}", networks.show),
    Route("PUT", "/v2.0/networks/{network_id}", networks.update, body=bodies.NETWORK_UPDATE),
    Route("DELETE", "/v2.0/networks/{network_id}", networks.delete),
    Route("GET", "/v2.0/subnets", subnets.index),
    Route("POST", "/v2.0/subnets", subnets.create, body=ANY_OBJECT),
    Route("GET", "/v2.0/subnets/{subnet_id}", subnets.show),
    Route("PUT", "/v2.0/subnets/{subnet_id}", subnets.update, body=bodies.SUBNET_UPDATE),
    Route("DELETE", "/v2.0/subnets/{subnet_id}", subnets.delete),
    Route("GET", "/v2.0/ports", ports.index),
    Route("POST", "/v2.0/ports", ports.create, body=ANY_OBJECT),
    Route("GET", "/v2.0/ports/{port_id}", ports.show),
    Route("PUT", "/v2.0/ports/{port_id}", ports.update, body=bodies.PORT_UPDATE),
    Route("DELETE", "/v2.0/ports/{port_id}", ports.delete),
    Route("GET", "/v2.0/security-groups", security_groups.index),
    Route("POST", "/v2.0/security-groups", security_groups.create, body=ANY_OBJECT),
    Route("GET", _GROUP, security_groups.show),
    Route("PUT", _GROUP, security_groups.update, body=bodies.GROUP_UPDATE),
    Route("DELETE", _GROUP, security_groups.delete),
    Route("GET", _RULES, security_rules.index),
    Route("POST", _RULES, security_rules.create, body=ANY_OBJECT),
    Route("GET", f"{_RULES}/{{rule_id}}", security_rules.show),
    Route("DELETE", f"{_RULES}/{{rule_id}}", security_rules.delete),
    Route("GET", "/v2.0/quotas", quotas.index),
    Route("GET", "/v2.0/quotas/tenant", quotas.own_project),
    Route("GET", "/v2.0/quotas/project", quotas.own_project),
    Route("GET", _QUOTA, quotas.show),
    Route("PUT", _QUOTA, quotas.update, body=bodies.QUOTA_UPDATE),
    Route("DELETE", _QUOTA, quotas.reset),
    Route("GET", f"{_QUOTA}/default", quotas.default),
    Route("GET", f"{_QUOTA}/details", quotas.detail),
    Route("GET", f"{_QUOTA}/details.json", quotas.detail),
)
ROUTES: tuple[Route, ...] = tuple(replace(route, handler=named(route.handler)) for route in _TABLE)


def app() -> web.Application:
    """To be mounted on `/network`."""
    return build_app("network", ROUTES, NEUTRON)

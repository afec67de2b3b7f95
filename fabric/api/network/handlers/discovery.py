"""What clients ask about the service itself: resources, extensions, agents, zones.

The extension list decides what clients send, so it names what is here and nothing else: no router, no
floating IP, no tags yet.
"""

from __future__ import annotations

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.network.listing import only_fields, select
from fabric.api.network.views import agents as view
from fabric.api.request import base_url, caller, cloud
from fabric.api.responses import json_response
from fabric.control import network_agents

RESOURCES = (
    ("network", "networks"),
    ("subnet", "subnets"),
    ("port", "ports"),
    ("security_group", "security-groups"),
    ("security_group_rule", "security-group-rules"),
)
EXTENSIONS: tuple[tuple[str, str, str], ...] = (
    ("agent", "agent", "The agent management extension."),
    ("availability_zone", "Availability Zone", "The availability zone extension."),
    ("binding", "Port Binding", "Expose port bindings of a virtual port to external application"),
    ("external-net", "Neutron external network", "Adds external network attribute to network resource."),
    ("filter-validation", "Filter parameters validation", "Validates the filters of list requests."),
    ("net-mtu", "Network MTU", "Provides MTU attribute for a network resource."),
    ("net-mtu-writable", "Network MTU (writable)", "Provides a writable MTU attribute."),
    ("network_availability_zone", "Network Availability Zone", "Availability zone support for network."),
    ("pagination", "Pagination support", "Extension that indicates that pagination is enabled."),
    ("port-security", "Port Security", "Provides port security"),
    ("project-id", "project_id field enabled", "Extension that indicates that project_id field is enabled."),
    ("provider", "Provider Network", "Expose mapping of virtual networks to physical networks"),
    ("quota-check-limit", "Quota engine limit check", "Refuses quotas below the current usage."),
    ("quota_details", "Quota details management support", "Expose functions for quotas usage statistics."),
    ("quotas", "Quota management support", "Expose functions for quotas management per project"),
    ("security-group", "security-group", "The security groups extension."),
    ("security-groups-normalized-cidr", "Normalized CIDR field", "Adds the normalized_cidr field to rules."),
    ("sorting", "Sorting support", "Extension that indicates that sorting is enabled."),
    ("standard-attr-description", "standard-attr-description", "Extension to add descriptions."),
    ("standard-attr-revisions", "Resource revision numbers", "Expose the revision number of resources."),
    ("standard-attr-timestamp", "Resource timestamps", "Adds created_at and updated_at fields."),
)
_UPDATED = "2026-01-01T00:00:00-00:00"


async def resources(request: web.Request) -> web.Response:
    root = f"{base_url(request)}{request.path.rstrip('/')}"
    found = [
        {
            "name": name,
            "collection": collection.replace("-", "_"),
            "links": [{"rel": "self", "href": f"{root}/{collection}"}],
        }
        for name, collection in RESOURCES
    ]
    return json_response({"resources": found})


async def extensions(request: web.Request) -> web.Response:
    return json_response({"extensions": [_extension(*one) for one in EXTENSIONS]})


async def extension(request: web.Request) -> web.Response:
    alias = request.match_info["alias"]
    for one in EXTENSIONS:
        if one[0] == alias:
            return json_response({"extension": _extension(*one)})
    raise ApiError(404, f"Extension with alias {alias[:64]} does not exist.", type_name="ExtensionNotFound")


async def agents(request: web.Request) -> web.Response:
    found = await network_agents.list_network_agents(cloud(request), caller(request))
    rendered = [view.render(agent) for agent in found]
    return json_response(select(request, rendered, collection="agents", attributes=view.ATTRIBUTES))


async def agent(request: web.Request) -> web.Response:
    node_id = view.node_id_of(request.match_info["agent_id"])
    found = await network_agents.get_network_agent(cloud(request), caller(request), node_id)
    return json_response({"agent": only_fields(request.query, view.render(found))})


async def zones(request: web.Request) -> web.Response:
    rendered = [
        {"name": zone, "resource": "network", "state": "available"}
        for zone in await network_agents.network_zones(cloud(request))
    ]
    return json_response({"availability_zones": rendered})


def _extension(alias: str, name: str, description: str) -> dict[str, object]:
    return {"alias": alias, "name": name, "description": description, "updated": _UPDATED, "links": []}

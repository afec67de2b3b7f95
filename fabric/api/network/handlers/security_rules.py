"""Security group rules over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.network.creation import create as create_all
from fabric.api.network.creation import whole_number
from fabric.api.network.listing import only_fields, select
from fabric.api.network.schemas.bodies import RULE_CREATE
from fabric.api.network.views.security_groups import RULE_ATTRIBUTES, render_rule
from fabric.api.request import caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import security_rules
from fabric.control.security_rules import NewSecurityRule
from fabric.core.networks.model import SecurityRule
from proto.ids import RequestId, SecurityGroupId, SecurityGroupRuleId

_ETHERTYPES = {"ipv4": "IPv4", "ipv6": "IPv6"}


async def index(request: web.Request) -> web.Response:
    found = await security_rules.list_security_rules(cloud(request), caller(request))
    rendered = [render_rule(rule) for rule in found]
    return json_response(
        select(request, rendered, collection="security_group_rules", attributes=RULE_ATTRIBUTES)
    )


async def show(request: web.Request) -> web.Response:
    rule = await security_rules.get_security_rule(cloud(request), caller(request), _rule_id(request))
    return json_response({"security_group_rule": only_fields(request.query, render_rule(rule))})


async def create(request: web.Request) -> web.Response:
    async def make(new: NewSecurityRule, request_id: RequestId) -> SecurityRule:
        return await security_rules.create_security_rule(
            cloud(request), caller(request), new, request_id=request_id
        )

    async def undo(rule: SecurityRule, request_id: RequestId) -> None:
        await security_rules.delete_security_rule(
            cloud(request), caller(request), rule.rule_id, request_id=request_id
        )

    return await create_all(request, RULE_CREATE, _new, make, undo, render_rule)


async def delete(request: web.Request) -> web.Response:
    await security_rules.delete_security_rule(cloud(request), caller(request), _rule_id(request))
    return empty_response(204)


def _new(attributes: dict[str, Any]) -> NewSecurityRule:
    protocol, remote = attributes.get("protocol"), attributes.get("remote_group_id")
    return NewSecurityRule(
        security_group_id=SecurityGroupId(attributes["security_group_id"]),
        direction=attributes["direction"],
        ethertype=_ETHERTYPES[attributes.get("ethertype", "IPv4").lower()],
        protocol=None if protocol is None else str(protocol),
        port_min=whole_number(attributes.get("port_range_min")),
        port_max=whole_number(attributes.get("port_range_max")),
        remote_cidr=attributes.get("remote_ip_prefix") or None,
        remote_group_id=SecurityGroupId(remote) if remote else None,
        description=attributes.get("description") or "",
    )


def _rule_id(request: web.Request) -> SecurityGroupRuleId:
    return SecurityGroupRuleId(request.match_info["rule_id"])

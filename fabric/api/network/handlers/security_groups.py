"""Security groups over HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from fabric.api.network.creation import create as create_all
from fabric.api.network.creation import owner
from fabric.api.network.listing import only_fields, select
from fabric.api.network.schemas.bodies import GROUP_CREATE
from fabric.api.network.views.security_groups import GROUP_ATTRIBUTES, render_group
from fabric.api.request import body, caller, cloud
from fabric.api.responses import empty_response, json_response
from fabric.control import security_groups
from fabric.control.security_groups import NewSecurityGroup
from fabric.core.networks.model import SecurityGroup
from proto.ids import RequestId, SecurityGroupId


async def index(request: web.Request) -> web.Response:
    found = await security_groups.list_security_groups(cloud(request), caller(request))
    rendered = [render_group(group) for group in found]
    return json_response(select(request, rendered, collection="security_groups", attributes=GROUP_ATTRIBUTES))


async def show(request: web.Request) -> web.Response:
    group = await security_groups.get_security_group(cloud(request), caller(request), _group_id(request))
    return json_response({"security_group": only_fields(request.query, render_group(group))})


async def create(request: web.Request) -> web.Response:
    async def make(new: NewSecurityGroup, request_id: RequestId) -> SecurityGroup:
        return await security_groups.create_security_group(
            cloud(request), caller(request), new, request_id=request_id
        )

    async def undo(group: SecurityGroup, request_id: RequestId) -> None:
        await security_groups.delete_security_group(
            cloud(request), caller(request), group.security_group_id, request_id=request_id
        )

    return await create_all(request, GROUP_CREATE, _new, make, undo, render_group)


async def update(request: web.Request) -> web.Response:
    attributes = body(request)["security_group"]
    group = await security_groups.update_security_group(
        cloud(request),
        caller(request),
        _group_id(request),
        name=attributes.get("name"),
        description=attributes.get("description"),
    )
    return json_response({"security_group": render_group(group)})


async def delete(request: web.Request) -> web.Response:
    await security_groups.delete_security_group(cloud(request), caller(request), _group_id(request))
    return empty_response(204)


def _new(attributes: dict[str, Any]) -> NewSecurityGroup:
    return NewSecurityGroup(
        name=attributes["name"],
        description=attributes.get("description", ""),
        project_id=owner(attributes),
    )


def _group_id(request: web.Request) -> SecurityGroupId:
    return SecurityGroupId(request.match_info["security_group_id"])

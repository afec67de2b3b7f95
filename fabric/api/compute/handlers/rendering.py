"""What views of servers need beside the server."""

from __future__ import annotations

from collections.abc import Sequence

from aiohttp import web

from fabric.api.compute.links import links_of
from fabric.api.compute.versions import v
from fabric.api.compute.views.servers import Rendering
from fabric.api.request import caller, cloud, microversion
from fabric.control.servers import origins
from fabric.control.services import host_statuses
from fabric.core.servers.model import ServerView


async def rendering(request: web.Request, views: Sequence[ServerView] = ()) -> Rendering:
    """`views`: those that will be shown in full. Reads the hosts only where their status is shown: to admins,
    from 2.16; and what servers were asked for with from 2.98 on."""
    version, is_admin = microversion(request), caller(request).is_admin
    statuses = await host_statuses(cloud(request)) if is_admin and version >= v(16) else {}
    return Rendering(
        version=version,
        links=links_of(request),
        is_admin=is_admin,
        host_statuses=statuses,
        origins=await origins(cloud(request), views) if version >= v(98) else {},
    )

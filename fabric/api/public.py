"""The whole public API of a node. Slow to import (schemas are compiled), so only who serves it does."""

from __future__ import annotations

from aiohttp import web

from fabric.api.compute import routes as compute
from fabric.api.identity import routes as identity
from fabric.api.image import routes as image
from fabric.api.network import routes as network
from fabric.api.own import routes as own
from fabric.api.placement import routes as placement
from fabric.api.server import build_root
from fabric.control.context import Cloud


def build_public(cloud: Cloud) -> web.Application:
    return build_root(
        cloud,
        apps={
            "/identity": identity.app(),
            "/compute": compute.app(),
            "/image": image.app(),
            "/network": network.app(),
            "/placement": placement.app(),
            "/fabric": own.app(),
        },
    )

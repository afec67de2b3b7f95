"""Version documents: what clients read first, without a token. Shapes and quirks: CLIENTS.md, "Discovery".

Every href is what the client came by (`base_url`) plus the mount, exactly once. `DOCUMENTS` lists which
documents a mounted API has; `server.build_root` mounts those of the APIs it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from fabric.api import microversion as mv
from fabric.api.request import base_url
from fabric.api.responses import json_response
from fabric.api.routing import Handler

IDENTITY_UPDATED = "2020-04-07T00:00:00Z"
COMPUTE_UPDATED = "2013-07-23T11:33:21Z"
IMAGE_MINORS = range(15, -1, -1)  # v2.15 is CURRENT; clients pick the highest they know

Document = Callable[[str], dict[str, Any]]


def _link(href: str, rel: str = "self") -> dict[str, str]:
    return {"rel": rel, "href": href}


def _media_type(name: str, version: str) -> dict[str, str]:
    return {"base": "application/json", "type": f"application/vnd.openstack.{name}-{version}+json"}


def identity_v3(base: str) -> dict[str, Any]:
    return {
        "id": "v3.14",
        "status": "stable",
        "updated": IDENTITY_UPDATED,
        "links": [_link(f"{base}/identity/v3/")],
        "media-types": [_media_type("identity", "v3")],
    }


def compute_v20(base: str) -> dict[str, Any]:
    """v2.1 as of 2.1: its versions are empty strings, not absent."""
    return {
        "id": "v2.0",
        "status": "SUPPORTED",
        "version": "",
        "min_version": "",
        "updated": "2011-01-21T11:33:21Z",
        "links": [_link(f"{base}/compute/v2/")],
    }


def compute_v21(base: str) -> dict[str, Any]:
    return {
        "id": "v2.1",
        "status": "CURRENT",
        "version": str(mv.MAX),
        "min_version": str(mv.MIN),
        "updated": COMPUTE_UPDATED,
        "links": [_link(f"{base}/compute/v2.1/")],
    }


def image_versions(base: str) -> list[dict[str, Any]]:
    return [
        {
            "id": f"v2.{minor}",
            "status": "CURRENT" if minor == IMAGE_MINORS.start else "SUPPORTED",
            "links": [_link(f"{base}/image/v2/")],
        }
        for minor in IMAGE_MINORS
    ]


def network_v2(base: str) -> dict[str, Any]:
    return {"id": "v2.0", "status": "CURRENT", "links": [_link(f"{base}/network/v2.0/")]}


def placement_v1(base: str) -> dict[str, Any]:
    """The key is max_version and the link empty, as the real one's are: clients read both."""
    return {
        "id": "v1.0",
        "max_version": str(mv.PLACEMENT.highest),
        "min_version": str(mv.PLACEMENT.lowest),
        "status": "CURRENT",
        "links": [_link("")],
    }


def fabric_v1(base: str) -> dict[str, Any]:
    return {"id": "v1", "status": "CURRENT", "links": [_link(f"{base}/fabric/v1/")]}


def _detail(version: dict[str, Any], name: str) -> dict[str, Any]:
    return {"version": {**version, "media-types": [_media_type(name, str(version["id"]))]}}


def _choice(body: Document, *, location: str) -> Handler:
    """300 with a body: clients read it and do not follow `Location`."""

    async def handler(request: web.Request) -> web.Response:
        base = base_url(request)
        return json_response(body(base), status=300, headers={"Location": f"{base}{location}"})

    return handler


def _plain(body: Document, *, vary: str | None = None) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return json_response(body(base_url(request)), headers={"Vary": vary} if vary else None)

    return handler


_IDENTITY_INDEX = _choice(
    lambda base: {"versions": {"values": [identity_v3(base)]}}, location="/identity/v3/"
)
_COMPUTE_INDEX = _plain(lambda base: {"versions": [compute_v20(base), compute_v21(base)]})
_IMAGE_INDEX = _choice(lambda base: {"versions": image_versions(base)}, location="/image/v2/")
_NETWORK_INDEX = _plain(lambda base: {"versions": [network_v2(base)]})
_PLACEMENT_INDEX = _plain(lambda base: {"versions": [placement_v1(base)]})

# mount -> ((path, handler), ...); a slash at the end is optional on all of them
DOCUMENTS: Mapping[str, tuple[tuple[str, Handler], ...]] = {
    "/identity": (
        ("/identity", _IDENTITY_INDEX),
        ("/identity/v3", _plain(lambda base: {"version": identity_v3(base)}, vary="X-Auth-Token")),
    ),
    "/compute": (
        ("/compute", _COMPUTE_INDEX),  # without the slash Nova's 300 kills `nova version-list`
        ("/compute/v2", _plain(lambda base: _detail(compute_v20(base), "compute"))),
        ("/compute/v2.1", _plain(lambda base: _detail(compute_v21(base), "compute"), vary=mv.VARY)),
    ),
    "/image": (
        ("/image", _IMAGE_INDEX),
        ("/image/versions", _plain(lambda base: {"versions": image_versions(base)})),
    ),
    "/network": (("/network", _NETWORK_INDEX),),
    "/placement": (("/placement", _PLACEMENT_INDEX),),
    "/fabric": (
        ("/fabric", _plain(lambda base: {"versions": [fabric_v1(base)]})),
        ("/fabric/v1", _plain(lambda base: {"version": fabric_v1(base)})),
    ),
}

_OF_MOUNT: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "/identity": identity_v3,
    "/compute": compute_v21,
    "/image": lambda base: image_versions(base)[0],
    "/network": network_v2,
    "/placement": placement_v1,
    "/fabric": fabric_v1,
}


def index_of(mounts: tuple[str, ...]) -> Handler:
    """`GET /`: for people. One entry for each mounted API."""

    def body(base: str) -> dict[str, Any]:
        known = [mount for mount in mounts if mount in _OF_MOUNT]
        return {"versions": [{"service": mount.strip("/"), **_OF_MOUNT[mount](base)} for mount in known]}

    async def handler(request: web.Request) -> web.Response:
        return json_response(body(base_url(request)), status=300)

    return handler

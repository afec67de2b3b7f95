"""Hrefs: what the client came by, mount path and version once, and the version-less bookmark."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web

from fabric.api.request import base_url

_ROOT = re.compile(r"(?P<mount>.*?)(?P<version>/v2(?:\.1)?)(?=/|$)")


@dataclass(frozen=True, slots=True)
class Links:
    """`versioned` ends in /v2.1 (with the project, when the client put it there), `mount` does not."""

    versioned: str
    mount: str

    def self_href(self, collection: str, identity: str) -> str:
        return f"{self.versioned}/{collection}/{identity}"

    def bookmark(self, collection: str, identity: str) -> dict[str, str]:
        return {"rel": "bookmark", "href": f"{self.mount}/{collection}/{identity}"}

    def both(self, collection: str, identity: str) -> list[dict[str, str]]:
        return [
            {"rel": "self", "href": self.self_href(collection, identity)},
            self.bookmark(collection, identity),
        ]


def links_of(request: web.Request) -> Links:
    match = _ROOT.match(request.path)
    assert match is not None, "every Compute route is below a version"
    project = request.match_info.get("url_project_id")
    tail = f"/{project}" if project else ""
    base = base_url(request)
    return Links(f"{base}{match['mount']}{match['version']}{tail}", f"{base}{match['mount']}{tail}")

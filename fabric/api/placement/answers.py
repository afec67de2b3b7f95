"""What all answers of Placement have in common: where things are, and how long an answer is good."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime

from aiohttp import web

from fabric.api.placement.versions import v
from fabric.api.request import base_url, cloud, microversion
from fabric.api.responses import empty_response, json_response
from proto.ids import is_uuid

MOUNT = "/placement"
MS = 1_000


def answer(
    request: web.Request,
    value: object,
    *,
    status: int = 200,
    changed_ms: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """`changed_ms`: when what is shown last changed; None: what is shown is computed now."""
    return json_response(value, status=status, headers={**(headers or {}), **_fresh(request, changed_ms)})


def nothing(
    request: web.Request, status: int = 204, *, headers: Mapping[str, str] | None = None
) -> web.Response:
    return empty_response(status, headers={**(headers or {}), **_fresh(request, None)})


def location(request: web.Request, path: str) -> dict[str, str]:
    return {"Location": f"{base_url(request)}{MOUNT}{path}"}


def _fresh(request: web.Request, changed_ms: int | None) -> dict[str, str]:
    """From 1.15."""
    if microversion(request) < v(15):
        return {}
    at = cloud(request).clock.wall_ms() if changed_ms is None else changed_ms
    moment = datetime.fromtimestamp(at // MS, UTC)
    return {"Last-Modified": format_datetime(moment, usegmt=True), "Cache-Control": "no-cache"}


def path_uuid(request: web.Request, name: str = "provider_id") -> str:
    """As written in the path, in the form ids have here. What is none names nothing, and so is not found."""
    text = request.match_info[name].lower()
    if len(text) == 32:
        text = f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
    return text if is_uuid(text) else request.match_info[name]

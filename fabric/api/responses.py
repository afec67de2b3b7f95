"""Rendering: JSON bodies and empty ones, in one place so that all dialects look alike on the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping

from aiohttp import web


def json_response(
    value: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Compact UTF-8 JSON."""
    data = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
    return web.Response(status=status, body=data, headers=headers, content_type="application/json")


def empty_response(status: int = 204, *, headers: Mapping[str, str] | None = None) -> web.Response:
    """No body: `Content-Length: 0` (a 202 action, say), or none at all for 204."""
    response = web.Response(status=status, headers=headers)
    if status != 204:
        response.content_type = "application/json"
    return response

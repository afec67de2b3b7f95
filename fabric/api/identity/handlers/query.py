"""Reading Keystone's filters."""

from __future__ import annotations

from aiohttp import web

from fabric.api.request import base_url

_FALSE = frozenset({"0", "false", "no", "off"})


def is_true(text: str) -> bool:
    """Keystone's rule: anything but a false word is true, `?include_names` alone too."""
    return text.strip().lower() not in _FALSE


def flag(request: web.Request, name: str) -> bool:
    """Absent is false."""
    return name in request.query and is_true(request.query[name])


def optional_flag(request: web.Request, name: str) -> bool | None:
    return is_true(request.query[name]) if name in request.query else None


def self_href(request: web.Request) -> str:
    """What a list says of where it came from."""
    return f"{base_url(request)}{request.path_qs}"

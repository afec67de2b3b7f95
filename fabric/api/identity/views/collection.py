"""Lists as Keystone wraps them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def collection(key: str, items: Iterable[dict[str, Any]], self_href: str) -> dict[str, Any]:
    return {key: list(items), "links": {"next": None, "self": self_href, "previous": None}}

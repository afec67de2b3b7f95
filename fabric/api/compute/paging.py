"""`limit`, `marker`, `sort_key`, `sort_dir` in; `*_links` out.

Source: Nova's API guide, "Paginated collections".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlencode

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.request import base_url
from fabric.core.queries import Page

LIMIT_MAX = 1_000  # Nova's api.max_limit: rows in one answer, whatever is asked for
SORT_KEYS_MAX = 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paging:
    """`limit` 0 is a legal wish: nothing."""

    limit: int
    marker: str | None

    def page(self, sort: tuple[tuple[str, str], ...] = ()) -> Page:
        return Page(limit=self.limit, marker=self.marker, sort=sort)


def parse_paging(request: web.Request) -> Paging:
    """Raises: ApiError 400."""
    text = request.query.get("limit")
    limit = LIMIT_MAX
    if text is not None:
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise ApiError(
                400, "Invalid input for query parameters limit: it must be a non-negative integer."
            )
        limit = min(int(text), LIMIT_MAX)
    return Paging(limit, request.query.get("marker") or None)


def parse_sort(request: web.Request, fields: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """`fields`: what may be sorted by, as clients call it, and its name in queries.

    A key without a direction takes the first direction, or "desc". Raises: ApiError 400.
    """
    keys, directions = request.query.getall("sort_key", []), request.query.getall("sort_dir", [])
    if len(directions) > len(keys) and keys:
        raise ApiError(400, "sort_dir: there are more sort directions than sort keys.")
    if len(keys) > SORT_KEYS_MAX:
        raise ApiError(400, f"sort_key: at most {SORT_KEYS_MAX} are allowed.")
    if any(direction not in ("asc", "desc") for direction in directions):
        raise ApiError(400, "sort_dir: it must be 'asc' or 'desc'.")
    fallback = directions[0] if directions else "desc"
    pairs = []
    for index, key in enumerate(keys or (["created_at"] if directions else [])):
        if key not in fields:
            raise ApiError(400, f"sort_key: results cannot be sorted by '{key[:64]}'.")
        pairs.append((fields[key], directions[index] if index < len(directions) else fallback))
    return tuple(pairs)


def next_links(
    request: web.Request, rows: Sequence[T], paging: Paging, marker_of: Callable[[T], str]
) -> list[dict[str, str]]:
    """Only when a full page was given (CLIENTS.md). Empty: leave the key out."""
    if not rows or len(rows) < paging.limit:
        return []
    kept = [(key, value) for key, value in request.query.items() if key not in ("marker", "limit")]
    query = urlencode([*kept, ("limit", str(paging.limit)), ("marker", marker_of(rows[-1]))])
    return [{"rel": "next", "href": f"{base_url(request)}{request.path}?{query}"}]

"""Filters, fields, order and pages of Neutron lists, over rendered objects: networks and ports of one
project are few, and a filter may name any attribute. Source: Neutron API reference, "Filtering and
Column Selection", "Sorting", "Pagination"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from multidict import MultiMapping

from fabric.api.faults import ApiError
from fabric.api.request import base_url

Rendered = dict[str, Any]
Match = Callable[[Rendered, Sequence[str]], bool]  # does it match any of these values?

_NOT_FILTERS = frozenset({"fields", "limit", "marker", "page_reverse", "sort_key", "sort_dir"})
_TAG_FILTERS = frozenset({"tags", "tags-any", "any-tags", "not-tags", "not-tags-any", "not-any-tags"})
_TRUE, _FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})
_LIMIT_DIGITS_MAX = 9
_SORT_KEYS_MAX = 8


def select(
    request: web.Request,
    rendered: Sequence[Rendered],
    *,
    collection: str,
    attributes: frozenset[str],
    special: Mapping[str, Match] | None = None,
) -> dict[str, Any]:
    """`{collection: [...]}` with what the query asks for, and links when it asks for pages.

    `attributes` may be filtered and sorted by; `special` says how for those that are not plain values.
    Raises: ApiError 400.
    """
    query = request.query
    found = _filtered(rendered, query, attributes, special or {})
    found = _sorted(found, query, attributes)
    page, links = _paged(request, found)
    body: dict[str, Any] = {collection: [only_fields(query, one) for one in page]}
    if links:
        body[f"{collection}_links"] = links
    return body


def only_fields(query: MultiMapping[str], one: Rendered) -> Rendered:
    """The object with nothing but the `fields` asked for; whole when none are."""
    wanted = {name for value in query.getall("fields", []) for name in value.split(",") if name}
    return {name: value for name, value in one.items() if name in wanted} if wanted else one


def _filtered(
    rendered: Sequence[Rendered],
    query: MultiMapping[str],
    attributes: frozenset[str],
    special: Mapping[str, Match],
) -> list[Rendered]:
    found = list(rendered)
    for name in dict.fromkeys(query.keys()):
        if name in _NOT_FILTERS:
            continue
        values = query.getall(name)
        if name in special:
            found = [one for one in found if special[name](one, values)]
        elif name in _TAG_FILTERS:
            found = found if name.startswith("not-") else []  # nothing has a tag
        elif name in attributes:
            found = [one for one in found if _matches(one.get(name), values, name)]
        else:
            raise ApiError(
                400, f"{[name[:64]]} is invalid attribute for filtering", type_name="HTTPBadRequest"
            )
    return found


def _matches(value: Any, wanted: Sequence[str], name: str) -> bool:
    if isinstance(value, bool):
        return value in {_boolean(text, name) for text in wanted}
    if isinstance(value, list):
        return any(str(item) in wanted for item in value)
    if value is None:
        return any(text in ("", "None", "null") for text in wanted)
    return str(value) in wanted


def _boolean(text: str, name: str) -> bool:
    lower = text.lower()
    if lower not in _TRUE | _FALSE:
        raise ApiError(400, f"Invalid input for {name}. '{text[:64]}' cannot be converted to boolean.")
    return lower in _TRUE


def _sorted(found: list[Rendered], query: MultiMapping[str], attributes: frozenset[str]) -> list[Rendered]:
    keys, dirs = query.getall("sort_key", []), query.getall("sort_dir", [])
    if len(keys) != len(dirs) and dirs:
        raise ApiError(400, "The number of sort_keys and sort_dirs must be same.")
    if len(keys) > _SORT_KEYS_MAX:
        raise ApiError(400, f"More than {_SORT_KEYS_MAX} sort keys.")
    for key, direction in reversed(list(zip(keys, dirs or ["asc"] * len(keys), strict=True))):
        if key not in attributes:
            raise ApiError(400, f"{[key[:64]]} is invalid attribute for sort keys")
        if direction not in ("asc", "desc"):
            raise ApiError(400, "Invalid value for sort_dir: asc or desc.")
        found = sorted(found, key=lambda one: _sort_value(one.get(key)), reverse=direction == "desc")
    return found


def _sort_value(value: Any) -> tuple[int, int, str]:
    """Numbers by size, texts by letter, nothing first."""
    if value is None:
        return (0, 0, "")
    if isinstance(value, int):
        return (1, value, "")
    return (2, 0, str(value))


def _paged(request: web.Request, found: list[Rendered]) -> tuple[list[Rendered], list[dict[str, str]]]:
    query = request.query
    limit = _limit(query.get("limit"))
    is_reverse = "page_reverse" in query and _boolean(query["page_reverse"], "page_reverse")
    marker = query.get("marker")
    if marker is not None:
        place = next((i for i, one in enumerate(found) if one["id"] == marker), None)
        if place is None:
            raise ApiError(400, f"The marker '{marker[:64]}' names nothing in this list.")
        found = found[:place] if is_reverse else found[place + 1 :]
    if limit is None:
        return found, []
    page = found[-limit:] if is_reverse else found[:limit]
    links = []
    has_more_after = marker is not None if is_reverse else len(found) > len(page)
    if page and has_more_after:
        links.append(_link(request, "next", page[-1]["id"], is_reverse=False))
    has_more_before = len(found) > len(page) if is_reverse else marker is not None
    if page and has_more_before:
        links.append(_link(request, "previous", page[0]["id"], is_reverse=True))
    return page, links


def _limit(text: str | None) -> int | None:
    """None, or 0: no limit, as in Neutron."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LIMIT_DIGITS_MAX):
        raise ApiError(400, f"Limit must be an integer 0 or greater and not '{text[:64]}'")
    return int(text) or None


def _link(request: web.Request, rel: str, marker: str, *, is_reverse: bool) -> dict[str, str]:
    query = [(k, v) for k, v in request.query.items() if k not in ("marker", "page_reverse")]
    query.append(("marker", marker))
    if is_reverse:
        query.append(("page_reverse", "True"))
    return {"rel": rel, "href": f"{base_url(request)}{request.path}?{urlencode(query)}"}

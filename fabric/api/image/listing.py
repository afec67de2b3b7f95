"""The query string of `GET /v2/images` as a filter and a page. Source: Glance API reference."""

from __future__ import annotations

import csv

from multidict import MultiMapping

from fabric.api.faults import ApiError
from fabric.core.images.queries import ImageFilter
from fabric.core.queries import Page
from proto.ids import ImageId

LIMIT_DEFAULT = 25  # Glance's limit_param_default
LIMIT_MAX = 1_000  # Glance's api_limit_max
_INT_MAX = (1 << 63) - 1
_SORT_KEYS_MAX = 8

_SORT_KEYS = (
    "name",
    "status",
    "container_format",
    "disk_format",
    "size",
    "id",
    "created_at",
    "updated_at",
    "visibility",
    "owner",
    "min_disk",
    "min_ram",
)
_PAGING = frozenset({"limit", "marker", "sort", "sort_key", "sort_dir"})
_MEMBER_STATUSES = ("accepted", "pending", "rejected", "all")
_VISIBILITIES = ("public", "private", "shared", "community", "all")
_REFUSED = frozenset(
    {"created_at", "updated_at", "checksum", "os_hash_value", "virtual_size", "min_ram", "min_disk"}
)


def parse_filter(query: MultiMapping[str]) -> ImageFilter:
    """Raises ApiError 400 naming the parameter."""
    one = {name: value for name, value in query.items() if name not in _PAGING and name != "tag"}
    for name in _REFUSED & one.keys():
        raise ApiError(400, f"Filtering images by '{name}' is not offered.")
    member_status = one.pop("member_status", "accepted")
    if member_status not in _MEMBER_STATUSES:
        raise ApiError(400, f"Invalid status: {member_status[:64]}; one of {', '.join(_MEMBER_STATUSES)}.")
    visibility = one.pop("visibility", "all")
    if visibility not in _VISIBILITIES:
        raise ApiError(
            400, f"Invalid visibility value: {visibility[:64]}; one of {', '.join(_VISIBILITIES)}."
        )
    hidden = one.pop("os_hidden", "false")
    protected = one.pop("protected", None)
    size_min, size_max = one.pop("size_min", None), one.pop("size_max", None)
    return ImageFilter(
        names=_values("name", one.pop("name", None)),
        image_ids=tuple(ImageId(value) for value in _values("id", one.pop("id", None))),
        status=_only("status", one.pop("status", None)),
        visibility=None if visibility == "all" else visibility,
        owner=one.pop("owner", None),
        disk_format=_only("disk_format", one.pop("disk_format", None)),
        container_format=_only("container_format", one.pop("container_format", None)),
        tags_all=tuple(query.getall("tag", [])),
        os_hidden=_boolean("os_hidden", hidden),
        protected=None if protected is None else _boolean("protected", protected),
        size_min=None if size_min is None else _integer("size_min", size_min, _INT_MAX),
        size_max=None if size_max is None else _integer("size_max", size_max, _INT_MAX),
        properties=tuple(sorted(one.items())),
    )


def parse_page(query: MultiMapping[str]) -> Page:
    """`limit` is never None: LIMIT_DEFAULT unless given, at most LIMIT_MAX. Raises ApiError 400."""
    limit = query.get("limit")
    wanted = LIMIT_DEFAULT if limit is None else _integer("limit", limit, _INT_MAX)
    marker = query.get("marker")
    return Page(limit=min(wanted, LIMIT_MAX), marker=marker, sort=_sort(query))


def _sort(query: MultiMapping[str]) -> tuple[tuple[str, str], ...]:
    keys, dirs = query.getall("sort_key", []), query.getall("sort_dir", [])
    if "sort" in query:
        if keys or dirs:
            raise ApiError(400, "Old and new sorting syntax cannot be combined.")
        pairs = [part.strip().partition(":") for part in query.get("sort", "").split(",")]
        keys, dirs = [key for key, _, _ in pairs], [direction or "desc" for _, _, direction in pairs]
    if len(keys) > _SORT_KEYS_MAX:
        raise ApiError(400, f"More than {_SORT_KEYS_MAX} sort keys.")
    if not keys:
        keys = ["created_at"]
    if len(dirs) not in (0, 1, len(keys)):
        raise ApiError(400, "Number of sort dirs does not match the number of sort keys.")
    dirs = (dirs or ["desc"]) * (1 if len(dirs) == len(keys) else len(keys))
    for key, direction in zip(keys, dirs, strict=True):
        if key not in _SORT_KEYS:
            raise ApiError(400, f"Invalid sort key: {key[:64]}; one of {', '.join(_SORT_KEYS)}.")
        if direction not in ("asc", "desc"):
            raise ApiError(400, f"Invalid sort direction: {direction[:64]}; asc or desc.")
    return tuple(zip(keys, dirs, strict=True))


def _values(name: str, text: str | None) -> tuple[str, ...]:
    """`x` or `in:a,"b,c"` as a tuple."""
    if text is None:
        return ()
    if not text.startswith("in:"):
        return (text.removeprefix("eq:"),)
    try:
        values = next(csv.reader([text.removeprefix("in:")], strict=True), [])
    except csv.Error as error:
        raise ApiError(400, f"Invalid filter value for '{name}': a quote is not closed.") from error
    if not values:
        raise ApiError(400, f"Invalid filter value for '{name}': 'in:' needs at least one value.")
    return tuple(values)


def _only(name: str, text: str | None) -> str | None:
    values = _values(name, text)
    if len(values) > 1:
        raise ApiError(400, f"Filtering images by several values of '{name}' at once is not offered.")
    return values[0] if values else None


def _boolean(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ApiError(400, f"Invalid value '{text[:64]}' for '{name}' filter. Valid values: true or false.")
    return text.lower() == "true"


def _integer(name: str, text: str, maximum: int) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 19 or int(text) > maximum:
        raise ApiError(400, f"Invalid value '{text[:64]}' for '{name}': a non-negative integer is needed.")
    return int(text)

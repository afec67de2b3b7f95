"""The two patch documents Image v2 takes: a JSON list of operations on top-level members.

- `application/openstack-images-v2.1-json-patch`: `{"op": "add", "path": "/name", "value": ...}` (RFC 6902)
- `application/openstack-images-v2.0-json-patch`: `{"add": "/name", "value": ...}` (its 2011 draft)

Paths are JSON pointers (RFC 6901) of one member. Source: Glance API reference, "Update an image".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fabric.api.faults import ApiError

MEDIA_TYPE_21 = "application/openstack-images-v2.1-json-patch"
MEDIA_TYPE_20 = "application/openstack-images-v2.0-json-patch"
OPERATIONS_MAX = 256
_VERBS = ("add", "replace", "remove")
_NAME_CHARS_MAX = 255


@dataclass(frozen=True, slots=True)
class Operation:
    verb: str  # "add", "replace", "remove"
    name: str
    value: Any = None  # None for "remove"


def parse_patch(document: Any, media_type: str) -> tuple[Operation, ...]:
    """Raises ApiError 400 naming the operation that is wrong."""
    if not isinstance(document, list):
        raise ApiError(400, "Request body must be a JSON array of operation objects.")
    if len(document) > OPERATIONS_MAX:
        raise ApiError(400, f"Request body has more than {OPERATIONS_MAX} operations.")
    return tuple(_operation(raw, index, media_type) for index, raw in enumerate(document))


def _operation(raw: Any, index: int, media_type: str) -> Operation:
    if not isinstance(raw, dict):
        raise ApiError(400, f"Operation {index} must be a JSON object.")
    verb, path = _verb_and_path(raw, index, media_type)
    name = _member(path, index)
    if verb == "remove":
        return Operation(verb, name)
    if "value" not in raw:
        raise ApiError(400, f'Operation {index} ("{verb}") requires a member named "value".')
    return Operation(verb, name, raw["value"])


def _verb_and_path(raw: dict[str, Any], index: int, media_type: str) -> tuple[str, str]:
    verb: Any
    path: Any
    if media_type == MEDIA_TYPE_20:
        found = [verb for verb in _VERBS if verb in raw]
        if len(found) != 1:
            raise ApiError(400, f"Operation {index} must name exactly one of: {', '.join(_VERBS)}.")
        verb, path = found[0], raw[found[0]]
    else:
        verb, path = raw.get("op"), raw.get("path")
        if verb not in _VERBS:
            raise ApiError(400, f'Operation {index} needs "op" with one of: {", ".join(_VERBS)}.')
    if not isinstance(path, str):
        raise ApiError(400, f'Operation {index} needs a path, a JSON pointer such as "/name".')
    return verb, path


def _member(path: str, index: int) -> str:
    bad = ApiError(400, f'Operation {index}: pointer `{path[:64]}` must name one member, such as "/name".')
    if not path.startswith("/") or "/" in path[1:] or len(path) > 2 * _NAME_CHARS_MAX:
        raise bad
    escaped = path[1:]
    rest = escaped.replace("~0", "").replace("~1", "")
    name = escaped.replace("~1", "/").replace("~0", "~")
    if "~" in rest or not name or len(name) > _NAME_CHARS_MAX:
        raise bad
    return name

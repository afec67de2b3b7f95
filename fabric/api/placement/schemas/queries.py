"""Query parameters of Placement requests, by microversion."""

from __future__ import annotations

from typing import Any

from fabric.api.placement.schemas.bodies import OWNER, UUID
from fabric.api.placement.versions import v
from fabric.api.validation import Schema, multi, single

TEXT: Schema = {"type": "string", "minLength": 1, "maxLength": 16_384}
_SUFFIXED = "(resources|required|member_of|in_tree)"


def _query(properties: dict[str, Any], required: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
        **more,
    }


def _list_providers(minor: int) -> dict[str, Any]:
    found: dict[str, Any] = {"name": single({"type": "string", "maxLength": 200}), "uuid": single(UUID)}
    if minor >= 3:
        found["member_of"] = multi(TEXT) if minor >= 24 else single(TEXT)
    if minor >= 4:
        found["resources"] = single(TEXT)
    if minor >= 14:
        found["in_tree"] = single(UUID)
    if minor >= 18:
        found["required"] = multi(TEXT) if minor >= 39 else single(TEXT)
    return _query(found)


LIST_PROVIDERS = tuple((v(minor), _list_providers(minor)) for minor in (0, 3, 4, 14, 18, 24, 39))


def _candidates(minor: int) -> dict[str, Any]:
    found: dict[str, Any] = {"resources": single(TEXT)}
    if minor >= 16:
        found["limit"] = single({"type": "string", "pattern": "^[1-9][0-9]{0,9}$"})
    if minor >= 17:
        found["required"] = multi(TEXT) if minor >= 39 else single(TEXT)
    if minor >= 21:
        found["member_of"] = multi(TEXT) if minor >= 24 else single(TEXT)
    if minor >= 31:
        found["in_tree"] = single(UUID)
    if minor >= 35:
        found["root_required"] = single(TEXT)
    if minor >= 36:
        found["same_subtree"] = multi(TEXT)
    if minor < 25:
        return _query(found, ("resources",))
    found["group_policy"] = single({"type": "string", "enum": ["none", "isolate"]})
    suffix = "([1-9][0-9]*)" if minor < 33 else "([A-Za-z0-9_-]{1,64})"
    names = _SUFFIXED if minor >= 31 else "(resources|required|member_of)"
    return _query(found, patternProperties={f"^{names}{suffix}$": multi(TEXT)})


CANDIDATES = tuple((v(minor), _candidates(minor)) for minor in (10, 16, 17, 21, 24, 25, 31, 33, 35, 36, 39))

LIST_TRAITS = _query(
    {"name": single(TEXT), "associated": single({"type": "string", "pattern": "^(?i:true|false)$"})}
)
_USAGES = {"project_id": single(OWNER), "user_id": single(OWNER)}
_TYPED = {
    **_USAGES,
    "consumer_type": single({"type": "string", "pattern": "^([A-Z0-9_]{1,255}|all|unknown)$"}),
}
USAGES = ((v(9), _query(_USAGES, ("project_id",))), (v(38), _query(_TYPED, ("project_id",))))

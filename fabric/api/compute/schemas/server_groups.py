"""Server groups: bodies and the list's query at each microversion."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import NAME, changed, integer, wrapped
from fabric.api.compute.versions import v
from fabric.api.validation import Schema, multi

_HARD = ["anti-affinity", "affinity"]
_ALL = [*_HARD, "soft-anti-affinity", "soft-affinity"]


def _one_of(policies: list[str]) -> Schema:
    """A list, of which one was ever allowed."""
    return {"type": "array", "items": {"enum": policies}, "minItems": 1, "maxItems": 1}


_CREATE = wrapped("server_group", {"name": NAME, "policies": _one_of(_HARD)}, required=("name", "policies"))
_CREATE_15 = changed(_CREATE, "server_group", add={"policies": _one_of(_ALL)})
_RULES: Schema = {
    "type": "object",
    "properties": {"max_server_per_host": integer(1)},
    "additionalProperties": False,
}
_CREATE_64 = wrapped(
    "server_group", {"name": NAME, "policy": {"enum": _ALL}, "rules": _RULES}, required=("name", "policy")
)
CREATE = ((v(1), _CREATE), (v(15), _CREATE_15), (v(64), _CREATE_64))

_NUMBER = multi({"type": "string", "pattern": r"^[0-9]{1,18}\Z"})


def _list_query(*, strict: bool) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"all_projects": multi({"type": "string"}), "limit": _NUMBER, "offset": _NUMBER},
        "additionalProperties": not strict,
    }


LIST_QUERY = ((v(1), _list_query(strict=False)), (v(75), _list_query(strict=True)))

"""Key pairs: bodies and queries at each microversion."""

from __future__ import annotations

from typing import Any

from fabric.api.compute.schemas.parameters import NAME, changed, wrapped
from fabric.api.compute.versions import v
from fabric.api.validation import Schema, multi
from fabric.control.ssh_keys import PUBLIC_KEY_CHARS_MAX

_NAME: Schema = dict(NAME) | {"pattern": r"^(?! )[a-zA-Z0-9 \-_]+(?<! )\Z"}
_NAME_92: Schema = dict(NAME) | {"pattern": r"^(?! )[a-zA-Z0-9 \-_@.]+(?<! )\Z"}
_KEY: Schema = {"type": "string", "minLength": 1, "maxLength": PUBLIC_KEY_CHARS_MAX}

_CREATE = wrapped("keypair", {"name": _NAME, "public_key": _KEY}, required=("name",))
_CREATE_2 = changed(_CREATE, "keypair", add={"type": {"type": "string", "enum": ["ssh", "x509"]}})
_CREATE_10 = changed(
    _CREATE_2, "keypair", add={"user_id": {"type": "string", "minLength": 1, "maxLength": 255}}
)
_CREATE_92 = changed(_CREATE_10, "keypair", add={"name": _NAME_92}, require=("public_key",))
CREATE = ((v(1), _CREATE), (v(2), _CREATE_2), (v(10), _CREATE_10), (v(92), _CREATE_92))

_PARAMETER = multi({"type": "string", "maxLength": 255})


def _query(*names: str, strict: bool = False) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict.fromkeys(names, _PARAMETER),
        "additionalProperties": False if strict else _PARAMETER,
    }


LIST_QUERY = (
    (v(1), _query()),
    (v(10), _query("user_id")),
    (v(35), _query("user_id", "limit", "marker")),
    (v(75), _query("user_id", "limit", "marker", strict=True)),
)
ONE_QUERY = ((v(1), _query()), (v(10), _query("user_id")), (v(75), _query("user_id", strict=True)))

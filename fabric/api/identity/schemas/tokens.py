"""POST /v3/auth/tokens. Source: Identity API reference, "Authentication and token management"."""

from __future__ import annotations

from typing import Any

from fabric.api.identity.schemas.fields import ID, closed, wrapped
from fabric.control.tokens import TOKEN_CHARS_MAX

_NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 255}
_DOMAIN = {**closed({"id": ID, "name": _NAME}), "minProperties": 1}
_BY_ID_OR_NAME: dict[str, Any] = {"anyOf": [{"required": ["id"]}, {"required": ["name"]}]}
_OTHER_METHODS = ("application_credential", "totp", "external", "mapped", "oauth1", "saml2", "openid")

_USER = {
    **closed(
        {
            "id": ID,
            "name": _NAME,
            "domain": _DOMAIN,
            "password": {"type": "string", "maxLength": 4096},
        },
        required=("password",),
    ),
    **_BY_ID_OR_NAME,
}
_PROJECT = {**closed({"id": ID, "name": _NAME, "domain": _DOMAIN}), **_BY_ID_OR_NAME}

_IDENTITY = closed(
    {
        "methods": {
            "type": "array",
            "items": {"type": "string", "maxLength": 64},
            "minItems": 1,
            "maxItems": 4,
            "uniqueItems": True,
        },
        "password": wrapped("user", _USER),
        "token": closed(
            {"id": {"type": "string", "minLength": 1, "maxLength": TOKEN_CHARS_MAX}}, required=("id",)
        ),
        **{method: {"type": "object"} for method in _OTHER_METHODS},
    },
    required=("methods",),
)
_SCOPE: dict[str, Any] = {
    "oneOf": [
        {"const": "unscoped"},
        wrapped("unscoped", {"type": "object", "maxProperties": 0}),
        wrapped("project", _PROJECT),
        wrapped("domain", _DOMAIN),
        wrapped("system", closed({"all": {"const": True}}, required=("all",))),
        wrapped("OS-TRUST:trust", {"type": "object"}),
    ]
}

CREATE = wrapped("auth", closed({"identity": _IDENTITY, "scope": _SCOPE}, required=("identity",)))

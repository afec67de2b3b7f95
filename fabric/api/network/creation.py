"""Create bodies: one object or many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from aiohttp import web

from fabric.api.faults import ApiError
from fabric.api.request import body, caller
from fabric.api.responses import json_response
from fabric.api.validation import Schema, check_body
from fabric.control.bulk import create_all
from proto.ids import ProjectId, RequestId

BULK_MAX = 100
N = TypeVar("N")
T = TypeVar("T")


def one_or_many(single: str, plural: str, item: Mapping[str, Any]) -> tuple[Schema, Schema]:
    """The two bodies a create may have: `{single: item}` and `{plural: [item, ...]}`."""
    one = {
        "type": "object",
        "properties": {single: item},
        "required": [single],
        "additionalProperties": False,
    }
    many = {
        "type": "object",
        "properties": {plural: {"type": "array", "items": item, "minItems": 1, "maxItems": BULK_MAX}},
        "required": [plural],
        "additionalProperties": False,
    }
    return one, many


ANY_OBJECT: Schema = {"type": "object"}  # for Routes: the handler knows which of the two it is


async def create(
    request: web.Request,
    schemas: tuple[Schema, Schema],
    parse: Callable[[dict[str, Any]], N],
    make: Callable[[N, RequestId], Awaitable[T]],
    undo: Callable[[T, RequestId], Awaitable[None]],
    render: Callable[[T], dict[str, Any]],
) -> web.Response:
    """201 with what was made; of many, all or none."""
    document = body(request)
    one, many = schemas
    single, plural = next(iter(one["properties"])), next(iter(many["properties"]))
    request_id = caller(request).request_id
    if plural not in document:
        check_body(document, one)
        made = await make(parse(document[single]), request_id)
        return json_response({single: render(made)}, status=201)
    check_body(document, many)
    news = [parse(item) for item in document[plural]]
    return json_response(
        {plural: [render(value) for value in await create_all(news, request_id, make, undo)]}, status=201
    )


def owner(attributes: Mapping[str, Any]) -> ProjectId | None:
    """`project_id`, or `tenant_id` as it was called. Raises ApiError 400 when they differ."""
    given = {attributes[name] for name in ("project_id", "tenant_id") if attributes.get(name)}
    if len(given) > 1:
        raise ApiError(400, "'project_id' and 'tenant_id' do not match.")
    return ProjectId(given.pop()) if given else None


def whole_number(value: Any) -> int | None:
    """Integers, and those sent as text (openstackclient's --mtu), already checked against INTEGER."""
    return None if value is None else int(value)


def refuse_changed(
    attributes: Mapping[str, Any], current: Mapping[str, Any], names: tuple[str, ...], hint: str
) -> None:
    """Attributes that cannot change may still be sent as they are. Raises ApiError 400."""
    for name in names:
        if name in attributes and attributes[name] != current.get(name):
            raise ApiError(400, f"Attribute '{name}' cannot be changed. {hint}", type_name="InvalidInput")

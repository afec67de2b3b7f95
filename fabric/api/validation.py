"""Outside bytes become a checked dict, or a 400 that names the field. Nothing else gets in.

- `await read_json(request)`: a bounded, well-formed JSON object. Routes with `body=` get it for free.
- `check_body(value, schema)`, `check_query(request.query, schema)`: JSON schema with Nova's wording.
  For a query the schema sees every parameter as a list of strings, as Nova's do: write
  `{"type": "object", "properties": {"limit": single({...}), "tags": multi({...})}}`.
- Handlers that choose a schema by content (server actions) call `check_body` themselves.

Schemas are Draft 2020-12 with strict integers (1.0 is not one) and `format` checked: uuid, ipv4, ipv6,
date, date-time, email, regex, plus ours: `cidr`, `mac`, `base64`. Validators are compiled once for each
schema object, so schemas must be module constants. Strings with NUL or lone surrogates are refused
before any schema is asked: no store or log could keep them.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import jsonschema
from aiohttp import web
from jsonschema import Draft4Validator, Draft202012Validator, FormatChecker, validators
from jsonschema.exceptions import ValidationError, best_match
from multidict import MultiMapping

from fabric.api.faults import ApiError

JSON_BYTES_MAX = 256 * 1024  # oslo.middleware allows 114,688; user data and bulk creates need some more
DEPTH_MAX = 32
QUERY_PAIRS_MAX = 256
SHOWN_CHARS_MAX = 256  # of a refused value, in a message
MASK = "***"
_SECRET = re.compile(r"pass|secret|token|user_data|private_key", re.IGNORECASE)
_MAC = re.compile(r"[0-9A-Fa-f]{2}([:-])(?:[0-9A-Fa-f]{2}\1){4}[0-9A-Fa-f]{2}")

Schema = Mapping[str, Any]


def single(item: Schema) -> dict[str, Any]:
    """A query parameter that may be given once."""
    return {"type": "array", "items": item, "maxItems": 1}


def multi(item: Schema) -> dict[str, Any]:
    """A query parameter that may be repeated."""
    return {"type": "array", "items": item}


async def read_json(
    request: web.Request,
    *,
    bytes_max: int = JSON_BYTES_MAX,
    content_types: tuple[str, ...] = ("application/json",),
) -> Any:
    """The body as JSON; any JSON value (schemas say what it must be). Raises: ApiError 400, 413, 415."""
    if (
        request.body_exists
        and "Content-Type" in request.headers
        and request.content_type not in content_types
    ):
        raise ApiError(415, f"Unsupported Content-Type; send {' or '.join(content_types)}.")
    return parse_json(await read_bytes(request, bytes_max=bytes_max))


async def read_bytes(request: web.Request, *, bytes_max: int) -> bytes:
    """The whole body, refused as soon as it is known to be too long. Raises: ApiError 413."""
    too_large = ApiError(413, f"The request body is larger than {bytes_max} bytes.")
    if request.content_length is not None and request.content_length > bytes_max:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > bytes_max:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def parse_json(data: bytes) -> Any:
    """Raises: ApiError 400 saying what is wrong with the JSON."""
    if not data.strip():
        raise ApiError(400, "Malformed request body: it is empty, a JSON object is needed.")
    try:
        value = json.loads(
            data.decode("utf-8"), parse_constant=_refuse_constant, object_pairs_hook=_without_duplicates
        )
    except UnicodeDecodeError as error:
        raise ApiError(400, f"Malformed request body: not UTF-8 at byte {error.start}.") from error
    except json.JSONDecodeError as error:
        raise ApiError(
            400, f"Malformed request body: {error.msg} at line {error.lineno} column {error.colno}."
        ) from error
    except RecursionError as error:
        raise ApiError(400, f"Malformed request body: nested deeper than {DEPTH_MAX} levels.") from error
    except ValueError as error:  # NaN, numbers of thousands of digits
        raise ApiError(400, "Malformed request body: a number is out of range.") from error
    _refuse_unstorable(value)
    return value


def check_body(value: Any, schema: Schema) -> None:
    """Raises: ApiError 400."""
    error = best_match(_validator(schema).iter_errors(value))
    if error is not None:
        raise ApiError(400, _message(error, "Invalid input for field/attribute"))


def check_query(query: MultiMapping[str], schema: Schema) -> None:
    """Raises: ApiError 400."""
    refuse_unstorable_query(query)
    lists: dict[str, list[str]] = {}
    for key, value in query.items():
        lists.setdefault(key, []).append(value)
    error = best_match(_validator(schema).iter_errors(lists))
    if error is not None:
        raise ApiError(400, _message(error, "Invalid input for query parameters"))


def refuse_unstorable_query(query: MultiMapping[str]) -> None:
    if len(query) > QUERY_PAIRS_MAX:
        raise ApiError(400, f"More than {QUERY_PAIRS_MAX} query parameters.")
    for key, value in query.items():
        if not (_is_storable(key) and _is_storable(value)):
            raise ApiError(400, f"Query parameter {_shown(key)} has a character that is not text.")


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two fields of one name readers disagree which counts, and one of them may be a filter before us."""
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ApiError(400, f"Malformed request body: field {_shown(name)} is given twice.")
        seen.add(name)
    raise AssertionError("fewer names than pairs, and none twice")


def _refuse_constant(name: str) -> Any:
    raise ValueError(name)


def _refuse_unstorable(value: Any) -> None:
    """Depth, NUL, lone surrogates and infinities (`1e999`), without recursion."""
    todo: list[tuple[Any, int, str]] = [(value, 1, "body")]
    while todo:
        item, depth, name = todo.pop()
        if depth > DEPTH_MAX:
            raise ApiError(400, f"Malformed request body: nested deeper than {DEPTH_MAX} levels.")
        match item:
            case dict():
                for key, inner in item.items():
                    if not _is_storable(key):
                        raise ApiError(400, f"A field name in {name} has a character that is not text.")
                    todo.append((inner, depth + 1, key))
            case list():
                todo.extend((inner, depth + 1, name) for inner in item)
            case str() if not _is_storable(item):
                reason = "NUL and unpaired surrogates are not text."
                raise ApiError(400, f"Invalid input for field/attribute {_shown(name)}. {reason}")
            case float() if math.isinf(item):
                raise ApiError(400, f"Invalid input for field/attribute {_shown(name)}. It is out of range.")


def _is_storable(text: str) -> bool:
    if "\x00" in text:
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _message(error: ValidationError, opening: str) -> str:
    """Nova's wording (nova.api.validation.validators), with long values cut and secrets hidden."""
    path = list(error.absolute_path)
    is_secret = any(isinstance(part, str) and _SECRET.search(part) for part in path)
    value = MASK if is_secret else _masked(error.instance)
    shown = MASK if is_secret else _shown(repr(value))
    text = error.message.replace(repr(error.instance), shown)
    text = text if len(text) <= 2 * SHOWN_CHARS_MAX else text[: 2 * SHOWN_CHARS_MAX] + "..."
    name = _field_name(path)
    if not name:
        return f"{text}."
    plain = shown if is_secret or not isinstance(value, str) else _shown(value)
    return f"{opening} {name}. Value: {plain}. {text}"


def _field_name(path: list[str | int]) -> str:
    """`server.networks[0].uuid` without the wrapper: `networks[0].uuid`."""
    inner = path[1:] if len(path) > 1 and isinstance(path[1], str) else path
    name = ""
    for part in inner:
        name += f"[{part}]" if isinstance(part, int) else f".{part}"
    return _shown(name.lstrip("."))


def _masked(value: Any) -> Any:
    match value:
        case dict():
            return {
                key: MASK if isinstance(key, str) and _SECRET.search(key) else _masked(inner)
                for key, inner in value.items()
            }
        case list():
            return [_masked(inner) for inner in value]
    return value


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS_MAX else f"{text[:SHOWN_CHARS_MAX]}... ({len(text)} characters)"


def _unique_items(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
    """jsonschema's own compares every pair of objects: quadratic in what a stranger sends."""
    if not wanted or not isinstance(instance, list):
        return
    keys = {json.dumps(item, sort_keys=True) for item in instance}
    if len(keys) != len(instance):
        yield ValidationError(f"{instance!r} has non-unique elements")


_FORMATS = FormatChecker(formats=("uuid", "ipv4", "ipv6", "date", "email", "regex"))


@_FORMATS.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    if isinstance(value, str):
        datetime.fromisoformat(value)
    return True


@_FORMATS.checks("cidr", raises=ValueError)
def _is_cidr(value: object) -> bool:
    if isinstance(value, str):
        ipaddress.ip_network(value, strict=False)
        return "/" in value
    return True


@_FORMATS.checks("mac")
def _is_mac(value: object) -> bool:
    return not isinstance(value, str) or _MAC.fullmatch(value) is not None


@_FORMATS.checks("base64", raises=(binascii.Error, ValueError))
def _is_base64(value: object) -> bool:
    if isinstance(value, str):
        base64.b64decode("".join(value.split()), validate=True)
    return True


_Validator: Any = validators.extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    validators={"uniqueItems": _unique_items},
    type_checker=Draft4Validator.TYPE_CHECKER,
)
_compiled: dict[int, tuple[Schema, Any]] = {}  # by identity; the schema is kept, so its id stays its own


def _validator(schema: Schema) -> Any:
    found = _compiled.get(id(schema))
    if found is None:
        _Validator.check_schema(schema)
        found = (schema, _Validator(schema, format_checker=_FORMATS))
        _compiled[id(schema)] = found
    return found[1]


def compile_schemas(schemas: Iterable[Schema]) -> None:
    """At start-up: a broken schema is our own mistake and must not wait for its first request.

    Raises: jsonschema.SchemaError.
    """
    for schema in schemas:
        _validator(schema)


SchemaError = jsonschema.SchemaError

"""Schema checks: what is refused, and what the message may say."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from fabric.api.faults import ApiError
from fabric.api.validation import (
    DEPTH_MAX,
    check_body,
    check_query,
    compile_schemas,
    multi,
    parse_json,
    single,
)

SERVER = {
    "type": "object",
    "properties": {
        "server": {
            "type": "object",
            "properties": {
                "name": {"type": "string", "maxLength": 8},
                "count": {"type": "integer"},
                "adminPass": {"type": "string", "maxLength": 4},
                "networks": {
                    "type": "array",
                    "uniqueItems": True,
                    "items": {"type": "object", "properties": {"uuid": {"type": "string", "format": "uuid"}}},
                },
            },
            "additionalProperties": False,
        }
    },
    "required": ["server"],
}


def _refusal(body: Any, schema: dict[str, Any] = SERVER) -> str:
    with pytest.raises(ApiError) as caught:
        check_body(body, schema)
    assert caught.value.fault.status == 400
    return caught.value.fault.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"server": {"name": "x" * 9}},
            "Invalid input for field/attribute name. Value: xxxxxxxxx. 'xxxxxxxxx' is too long",
        ),
        (
            {"server": {"networks": [{"uuid": "zz"}]}},
            "field/attribute networks[0].uuid. Value: zz. 'zz' is not a 'uuid'",
        ),
        (
            {"server": {"x": 1}},
            "server. Value: {'x': 1}. Additional properties are not allowed ('x' was unexpected)",
        ),
        ({}, "'server' is a required property."),
        ({"server": {"count": 1.0}}, "count. Value: 1.0. 1.0 is not of type 'integer'"),
        ({"server": {"count": True}}, "count. Value: True. True is not of type 'integer'"),
        ({"server": {"networks": [{}, {}]}}, "non-unique elements"),
    ],
)
def test_messages_name_the_field_as_nova_does(body: Any, said: str) -> None:
    assert said in _refusal(body)


def test_long_values_are_cut() -> None:
    for body in (
        {"server": {"name": "x" * 100_000}},
        {"server": {"n" * 100_000: 1}},
        {"server": ["x"] * 50_000},
    ):
        assert len(_refusal(body)) < 1500


@pytest.mark.parametrize(
    "body",
    [
        {"server": {"adminPass": "hunter2hunter2"}},
        {"server": {"adminPass": "hunter2hunter2", "x": 1}},
        {"server": {"name": {"password": "hunter2hunter2"}}},
        {"server": [{"adminPass": "hunter2hunter2"}]},
    ],
)
def test_secrets_are_not_repeated(body: Any) -> None:
    assert "hunter2" not in _refusal(body)


def test_unique_items_of_many_objects_is_linear() -> None:
    body = {"server": {"networks": [{"n": index} for index in range(20_000)]}}
    check_body(body, SERVER)  # pairwise comparison would take minutes


@pytest.mark.parametrize(
    ("format_name", "good", "bad"),
    [
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("cidr", "2001:db8::/64", "10.0.0.0/33"),
        ("mac", "52:54:00:12:34:56", "52:54:00:12:34"),
        ("base64", "aGk=\n", "a"),
        ("date-time", "2026-01-01T00:00:00Z", "yesterday"),
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("uuid", "12345678-1234-1234-1234-123456789abc", "1234"),
    ],
)
def test_formats(format_name: str, good: str, bad: str) -> None:
    schema = {"type": "string", "format": format_name}
    check_body(good, schema)
    with pytest.raises(ApiError):
        check_body(bad, schema)


QUERY = {
    "type": "object",
    "properties": {
        "limit": single({"type": "string", "pattern": "^[0-9]+$"}),
        "tag": multi({"type": "string"}),
    },
}


def test_queries() -> None:
    check_query(MultiDict([("limit", "5"), ("tag", "a"), ("tag", "b"), ("other", "x")]), QUERY)
    with pytest.raises(ApiError, match=r"Invalid input for query parameters limit"):
        check_query(MultiDict([("limit", "1"), ("limit", "2")]), QUERY)
    with pytest.raises(ApiError, match=r"Invalid input for query parameters limit\[0\]. Value: x"):
        check_query(MultiDict([("limit", "x")]), QUERY)
    with pytest.raises(ApiError, match="More than"):
        check_query(MultiDict([("tag", "a")] * 300), QUERY)


def test_a_broken_schema_is_found_at_start() -> None:
    with pytest.raises(jsonschema.SchemaError):
        compile_schemas([{"type": "nonsense"}])


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max((_depth(inner) for inner in value.values()), default=0)
    if isinstance(value, list):
        return 1 + max((_depth(inner) for inner in value), default=0)
    return 1


@given(st.binary(max_size=300))
def test_any_bytes_are_a_value_or_a_400(data: bytes) -> None:
    try:
        value = parse_json(data)
    except ApiError as error:
        assert error.fault.status == 400  # noqa: PT017
    else:
        assert _depth(value) <= DEPTH_MAX


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_json_is_accepted_or_refused_in_bounds(value: Any) -> None:
    try:
        check_body(value, SERVER)
    except ApiError as error:
        assert error.fault.status == 400  # noqa: PT017
        assert len(error.fault.message) < 2000  # noqa: PT017

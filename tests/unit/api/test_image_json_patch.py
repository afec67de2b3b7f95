"""The two forms of an image patch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.api.faults import ApiError
from fabric.api.image.editing import apply_patch
from fabric.api.image.json_patch import MEDIA_TYPE_20, MEDIA_TYPE_21, Operation, parse_patch
from fabric.control.images import ImageFields


def test_both_forms_say_the_same() -> None:
    new = [
        {"op": "add", "path": "/os_type", "value": "linux"},
        {"op": "replace", "path": "/name", "value": "n"},
        {"op": "remove", "path": "/a~1b~0c"},
    ]
    old = [{"add": "/os_type", "value": "linux"}, {"replace": "/name", "value": "n"}, {"remove": "/a~1b~0c"}]
    wanted = (
        Operation("add", "os_type", "linux"),
        Operation("replace", "name", "n"),
        Operation("remove", "a/b~c"),
    )
    assert parse_patch(new, MEDIA_TYPE_21) == wanted
    assert parse_patch(old, MEDIA_TYPE_20) == wanted


@pytest.mark.parametrize(
    "document",
    [
        {},
        "x",
        [1],
        [{}],
        [{"op": "move", "path": "/a", "value": "b"}],
        [{"op": "add", "path": "/a"}],
        [{"op": "add", "value": "a"}],
        [{"op": "add", "path": "a", "value": "b"}],
        [{"op": "add", "path": "/", "value": "b"}],
        [{"op": "add", "path": "/a/b", "value": "b"}],
        [{"op": "add", "path": "/a~2", "value": "b"}],
        [{"op": "add", "path": 7, "value": "b"}],
        [{"op": ["add"], "path": "/a", "value": "b"}],
        [{"op": "add", "path": "/" + "a" * 300, "value": "b"}],
        [{"op": "remove", "path": "/a"}] * 257,
    ],
)
def test_malformed_patches_are_400(document: Any) -> None:
    with pytest.raises(ApiError) as caught:
        parse_patch(document, MEDIA_TYPE_21)
    assert caught.value.fault.status == 400


@pytest.mark.parametrize(
    ("operation", "status"),
    [
        (Operation("replace", "status", "active"), 403),
        (Operation("replace", "checksum", "x"), 403),
        (Operation("replace", "owner", "x"), 403),
        (Operation("add", "id", "x"), 403),
        (Operation("add", "locations", []), 403),
        (Operation("remove", "name"), 403),
        (Operation("replace", "absent", "x"), 409),
        (Operation("remove", "absent"), 409),
        (Operation("replace", "name", 7), 400),
        (Operation("replace", "name", "n" * 256), 400),
        (Operation("replace", "min_ram", -1), 400),
        (Operation("replace", "min_ram", "1"), 400),
        (Operation("replace", "visibility", "secret"), 400),
        (Operation("replace", "disk_format", "floppy"), 400),
        (Operation("replace", "tags", "t"), 400),
        (Operation("add", "free", 7), 400),
        (Operation("add", "free", {"a": "b"}), 400),
        (Operation("add", "kernel_id", "not-a-uuid"), 400),
        (Operation("replace", "tags", [str(n) for n in range(129)]), 413),
    ],
)
def test_refused_operations_name_the_member(operation: Operation, status: int) -> None:
    with pytest.raises(ApiError) as caught:
        apply_patch(ImageFields(), [operation])
    assert caught.value.fault.status == status
    if status != 413:
        assert operation.name in caught.value.fault.message


def test_operations_apply_in_order() -> None:
    start = ImageFields(name="old", properties={"a": "1", "b": "2"})
    patched = apply_patch(
        start,
        [
            Operation("replace", "name", "new"),
            Operation("remove", "a"),
            Operation("add", "c", "3"),
            Operation("replace", "c", "4"),
            Operation("replace", "tags", ["x", "y", "x"]),
            Operation("add", "min_disk", 5),
        ],
    )
    assert patched == ImageFields(name="new", properties={"b": "2", "c": "4"}, tags=("x", "y"), min_disk_gb=5)
    assert start.properties == {"a": "1", "b": "2"}


def test_properties_are_bounded_in_number_and_size() -> None:
    many = [Operation("add", f"p{n}", "v") for n in range(129)]
    large = [Operation("add", f"p{n}", "v" * 60_000) for n in range(5)]
    for operations in (many, large):
        with pytest.raises(ApiError) as caught:
            apply_patch(ImageFields(), operations)
        assert caught.value.fault.status == 413


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["op", "path", "value", "add", "remove"]) | st.text(max_size=4), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from([MEDIA_TYPE_20, MEDIA_TYPE_21]))
def test_any_json_is_a_patch_or_an_api_error(document: Any, media_type: str) -> None:
    try:
        apply_patch(ImageFields(), parse_patch(document, media_type))
    except ApiError as error:
        status = error.fault.status
    else:
        status = 200
    assert status in (200, 400, 403, 409, 413)

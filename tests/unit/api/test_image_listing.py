"""The query string of an image list."""

from __future__ import annotations

import pytest
from multidict import MultiDict

from fabric.api.faults import ApiError
from fabric.api.image.listing import parse_filter, parse_page
from fabric.core.images.queries import ImageFilter
from fabric.core.queries import Page


def query(text: str) -> MultiDict[str]:
    return MultiDict(pair.split("=", 1) for pair in text.split("&") if pair)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", ImageFilter()),
        ("limit=5&marker=x&sort_key=name", ImageFilter()),
        ("name=a", ImageFilter(names=("a",))),
        ("name=in:a,b", ImageFilter(names=("a", "b"))),
        ('name=in:"a,b",c', ImageFilter(names=("a,b", "c"))),
        ("id=in:1,2", ImageFilter(image_ids=("1", "2"))),  # type: ignore[arg-type]
        ("visibility=all", ImageFilter()),
        ("visibility=public&status=active", ImageFilter(visibility="public", status="active")),
        ("tag=a&tag=b", ImageFilter(tags_all=("a", "b"))),
        ("os_hidden=true&protected=False", ImageFilter(os_hidden=True, protected=False)),
        ("size_min=1&size_max=2", ImageFilter(size_min=1, size_max=2)),
        ("member_status=pending&owner=o", ImageFilter(owner="o")),
        ("os_distro=debian&arch=x", ImageFilter(properties=(("arch", "x"), ("os_distro", "debian")))),
        ("disk_format=raw&container_format=bare", ImageFilter(disk_format="raw", container_format="bare")),
    ],
)
def test_filters(text: str, wanted: ImageFilter) -> None:
    assert parse_filter(query(text)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "visibility=secret",
        "member_status=maybe",
        "os_hidden=perhaps",
        "protected=2",
        "size_min=-1",
        "size_max=1e3",
        "size_max=" + "9" * 19,
        "size_max=" + "9" * 5000,
        "size_min=²",
        "name=in:",
        'name=in:"a',
        "status=in:active,queued",
        "created_at=gt:2026-01-01T00:00:00Z",
    ],
)
def test_bad_filters_name_themselves(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_filter(query(text))
    assert caught.value.fault.status == 400


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", Page(limit=25, sort=(("created_at", "desc"),))),
        ("limit=7&marker=m", Page(limit=7, marker="m", sort=(("created_at", "desc"),))),
        ("limit=100000", Page(limit=1000, sort=(("created_at", "desc"),))),
        ("sort_key=name&sort_dir=asc", Page(limit=25, sort=(("name", "asc"),))),
        (
            "sort_key=name&sort_key=size&sort_dir=asc",
            Page(limit=25, sort=(("name", "asc"), ("size", "asc"))),
        ),
        ("sort=name:asc,id", Page(limit=25, sort=(("name", "asc"), ("id", "desc")))),
        ("sort_dir=asc", Page(limit=25, sort=(("created_at", "asc"),))),
    ],
)
def test_pages(text: str, wanted: Page) -> None:
    assert parse_page(query(text)) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "limit=-1",
        "limit=x",
        "sort_key=owner_secret",
        "sort_dir=up",
        "sort=name:asc&sort_key=id",
        "sort=",
        "sort_key=name&sort_dir=asc&sort_dir=desc",
        "&".join(["sort_key=name"] * 9),
    ],
)
def test_bad_pages_are_400(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_page(query(text))
    assert caught.value.fault.status == 400

"""Host names out of server names, zones out of "zone:host"."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.control.errors import InvalidError
from fabric.control.server_create import _split_zone
from fabric.control.server_naming import hostname_of, sanitized_hostname
from proto.ids import ServerId


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("web-1", "web-1"),
        ("My Server_2.example", "my-server-2-example"),
        ("--x--", "x"),
        ("größe", "gre"),
        ("服务器", ""),
        ("a" * 100, "a" * 63),
        ("a" * 62 + "-b", "a" * 62),
    ],
)
def test_sanitized_hostname(name: str, expected: str) -> None:
    assert sanitized_hostname(name) == expected


@given(st.text(max_size=300))
def test_a_hostname_is_always_a_label_or_nothing(name: str) -> None:
    text = sanitized_hostname(name)
    assert text == "" or re.fullmatch(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", text)


@pytest.mark.parametrize(
    ("name", "hostname", "suffix", "expected"),
    [
        ("web", None, "", "web"),
        ("web", None, "-2", "web-2"),
        ("w" * 80, None, "-12", "w" * 60 + "-12"),
        ("web", "front.example.org", "-2", "front-2.example.org"),
        ("服务器", None, "", "server-id"),
    ],
)
def test_hostname_of_one_among_many(name: str, hostname: str | None, suffix: str, expected: str) -> None:
    assert hostname_of(name, hostname, suffix, ServerId("id")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("nova:h1", ("nova", "h1")),
        (":h1", (None, "h1")),
        ("nova::n1", ("nova", "n1")),
        ("nova:h1:h1", ("nova", "h1")),
        ("nova:", ("nova", None)),
    ],
)
def test_split_zone(text: str, expected: tuple[str | None, str | None]) -> None:
    assert _split_zone(text) == expected


@pytest.mark.parametrize("text", ["nova:h1:h2", "a:b:c:d"])
def test_zones_that_name_no_one_host(text: str) -> None:
    with pytest.raises(InvalidError):
        _split_zone(text)

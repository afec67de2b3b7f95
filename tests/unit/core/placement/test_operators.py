"""The words of extra specs, one of each that holds and one that does not; and what cannot be read."""

from __future__ import annotations

import pytest

from fabric.core.placement.operators import matches


@pytest.mark.parametrize(
    ("value", "wanted", "holds"),
    [
        ("true", "true", True),
        ("true", "True", False),
        ("", "", True),
        ("12", "= 12", True),
        ("12", "= 13", False),
        ("13", "= 12", True),  # "equal to or greater than"
        ("12", "== 12", True),
        ("12.5", "== 12", False),
        ("12", "!= 12", False),
        ("11", "!= 12", True),
        ("12", ">= 12", True),
        ("11", ">= 12", False),
        ("12", "<= 12", True),
        ("13", "<= 12", False),
        ("many", ">= 12", False),
        ("12", ">= many", False),
        ("ab", "s== ab", True),
        ("ab", "s== abc", False),
        ("ab", "s!= abc", True),
        ("ab", "s!= ab", False),
        ("ab", "s< b", True),
        ("b", "s< ab", False),
        ("b", "s<= b", True),
        ("c", "s<= b", False),
        ("b", "s> ab", True),
        ("ab", "s> b", False),
        ("b", "s>= b", True),
        ("a", "s>= b", False),
        ("sse4 avx", "<in> avx", True),
        ("sse4 avx", "<in> avx2", False),
        ("['aes', 'mmx']", "<all-in> aes mmx", True),
        ("['aes', 'mmx']", "<all-in> aes sse", False),
        ("[" * 4_000, "<all-in> aes", False),
        ("b", "<or> a <or> b", True),
        ("c", "<or> a <or> b", False),
        ("1", "<range-in> [ 1 5 ]", True),
        ("1", "<range-in> ( 1 5 ]", False),
        ("5", "<range-in> [ 1 5 ]", True),
        ("5", "<range-in> [ 1 5 )", False),
        ("x", "<range-in> [ 1 5 ]", False),
        ("1", "<range-in> 1 5", False),
    ],
)
def test_words(value: str, wanted: str, holds: bool) -> None:
    assert matches(value, wanted) is holds

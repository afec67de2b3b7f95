"""What a host says of itself is short, and what cannot be read is not said."""

from __future__ import annotations

import base64
from hashlib import sha256

import pytest

from fabric.core.membership.model import Load
from fabric.core.membership.record import read_load, write_load
from fabric.core.placement.host_word import (
    ADDRESS_BYTES,
    CPU,
    CPU_METRICS,
    CPU_PERCENTS,
    FAILED_BUILDS,
    FAILED_BUILDS_MAX,
    IMAGES,
    IMAGES_MAX,
    NOTHING_SAID,
    HostWord,
    is_among,
    packed,
    read_word,
    short_address,
    write_word,
)
from tests.fixtures.membership_nodes import fake_node_id

MEASURED = dict(zip(CPU_METRICS, (12, 8, 3, 87, 1, 2_600), strict=True))
SHA256S = [sha256(bytes([number])).hexdigest() for number in range(IMAGES_MAX + 1)]


@pytest.mark.parametrize(
    "word",
    [
        NOTHING_SAID,
        HostWord(failed_builds=3, images=packed(SHA256S[:3]), metrics=MEASURED),
        HostWord(images=packed(SHA256S)),
        HostWord(metrics={name: value for name, value in MEASURED.items() if name in CPU_PERCENTS}),
    ],
)
def test_what_is_written_is_read(word: HostWord) -> None:
    assert read_word(write_word(word)) == word


def test_nothing_takes_no_room() -> None:
    assert write_word(NOTHING_SAID) == {}


def test_a_number_is_bounded_where_it_is_said() -> None:
    assert read_word(write_word(HostWord(failed_builds=1_000_000))).failed_builds == FAILED_BUILDS_MAX


@pytest.mark.parametrize("text", ["", "-1", "many", "1e3", "٣", "99999999999999999999", "1 2"])
def test_a_number_that_no_host_says_counts_as_not_said(text: str) -> None:
    assert read_word({FAILED_BUILDS: text, "of later software": "x"}) == NOTHING_SAID


# ---- images


def test_images_are_found_by_their_contents() -> None:
    images = packed(SHA256S[:8])
    assert [is_among(images, short_address(each)) for each in SHA256S[:10]] == [True] * 8 + [False] * 2
    assert not is_among(b"", short_address(SHA256S[0]))


@pytest.mark.parametrize("text", ["", "s2", "../x", "Z" * 64])
def test_what_is_no_content_address_is_nowhere(text: str) -> None:
    assert not is_among(packed(SHA256S), short_address(text))


def test_one_is_not_found_across_the_border_of_two_others() -> None:
    first, second = "00112233" + "0" * 56, "44556677" + "0" * 56
    astride = "22334455" + "0" * 56
    assert not is_among(packed([first, second]), short_address(astride))
    assert is_among(packed([first, second, astride]), short_address(astride))


def test_the_word_is_the_same_whichever_was_used_last_and_has_a_bound() -> None:
    assert packed(SHA256S[:5]) == packed(reversed(SHA256S[:5])) == packed(SHA256S[:5] * 2)
    assert len(packed(SHA256S)) == IMAGES_MAX * ADDRESS_BYTES
    assert len(write_word(HostWord(images=packed(SHA256S)))[IMAGES]) == 344


@pytest.mark.parametrize(
    "text", ["!", "AAA", "AAAA", "é", base64.b64encode(bytes(ADDRESS_BYTES * (IMAGES_MAX + 1))).decode()]
)
def test_images_that_no_host_says_count_as_not_said(text: str) -> None:
    assert read_word({IMAGES: text}) == NOTHING_SAID


# ---- metrics


def test_metrics_are_one_short_word() -> None:
    assert write_word(HostWord(metrics=MEASURED)) == {CPU: "12 8 3 87 1 2600"}


@pytest.mark.parametrize(
    "text", ["", "1 2 3 4", "1 2 3 4 5 6 7", "1 2 3 4 -5", "1  2 3 4 5", "1 2 3 4 1234567"]
)
def test_metrics_that_no_host_says_count_as_not_said(text: str) -> None:
    assert read_word({CPU: text}) == NOTHING_SAID


def test_all_that_a_host_can_say_fits_a_load_beside_the_longest_reason_to_drain() -> None:
    word = write_word(HostWord(failed_builds=FAILED_BUILDS_MAX, images=packed(SHA256S), metrics=MEASURED))
    load = Load(extra=word | {"drain_reason": "\N{GRINNING FACE}" * 255}, load_milli=1 << 30)
    assert read_load(write_load(fake_node_id("a"), 1, 1, load)) == load

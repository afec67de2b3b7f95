"""The join token's text form, and that its secret stays out of logs."""

from __future__ import annotations

import base64

import pytest

from proto.codec import pack
from proto.errors import WireError
from proto.ids import TokenId
from proto.join import TOKEN_PREFIX, JoinTokenText, parse_token_text, secret_hash, token_text
from proto.records import to_wire

TOKEN = JoinTokenText(
    addresses=("tcp://10.0.0.1:7001", "tcp://[fd00::1]:7001"),
    door_public=b"d" * 32,
    root_fingerprint=b"f" * 32,
    token_id=TokenId("t-1"),
    secret=b"s" * 32,
    expires_ms=1_800_000_000_000,
)


def test_text_form_survives_and_is_one_word() -> None:
    text = token_text(TOKEN)
    assert text.startswith("fabric1.")
    assert not set(text) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert parse_token_text(f"  {text}\n") == TOKEN


@pytest.mark.parametrize(
    "damage", ["", "fabric1.", "fabric2.AAAA", "fabric1.!!!!", "fabric1.\u00e9", "x" * 9_000]
)
def test_damaged_token_is_refused_without_echo(damage: str) -> None:
    with pytest.raises(WireError) as caught:
        parse_token_text(damage)
    assert "!!!!" not in str(caught.value)


def test_any_truncation_is_refused() -> None:
    text = token_text(TOKEN)
    for length in range(len(text) - 1):
        with pytest.raises(WireError):
            parse_token_text(text[:length])


def test_any_flipped_bit_is_refused() -> None:
    text = token_text(TOKEN)
    record = text.removeprefix(TOKEN_PREFIX)
    whole = base64.urlsafe_b64decode(record + "=" * (-len(record) % 4))
    for position in range(len(whole) * 8):
        mangled = bytearray(whole)
        mangled[position // 8] ^= 1 << position % 8
        with pytest.raises(WireError):
            parse_token_text(TOKEN_PREFIX + base64.urlsafe_b64encode(mangled).decode().rstrip("="))


def test_a_record_without_its_checksum_is_refused() -> None:
    record = base64.urlsafe_b64encode(pack(to_wire(TOKEN))).decode().rstrip("=")
    with pytest.raises(WireError, match="damaged"):
        parse_token_text(TOKEN_PREFIX + record)


def test_secret_is_not_shown() -> None:
    assert "ssss" not in repr(TOKEN)
    assert "ssss" not in str(TOKEN)


def test_secret_hash_is_not_a_plain_hash() -> None:
    assert secret_hash(b"a") != secret_hash(b"b")
    assert len(secret_hash(b"a")) == 32

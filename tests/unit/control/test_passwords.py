"""Hashing and the cache of what was verified."""

from __future__ import annotations

import asyncio
import time

import pytest

from fabric.control import passwords
from fabric.control.errors import UnavailableError
from fabric.control.passwords import (
    HASHES_WAITING_MAX,
    PASSWORD_BYTES_MAX,
    Hasher,
    PasswordTooLongError,
    VerifyCache,
    hash_password,
    verify_password,
)

STORED = hash_password("correct horse")


def test_a_hash_verifies_its_own_password_only() -> None:
    assert STORED.startswith("$scrypt$ln=14,r=8,p=1$")
    assert verify_password("correct horse", STORED)
    assert not verify_password("correct horse ", STORED)
    assert not verify_password("", STORED)


def test_the_same_password_hashes_differently() -> None:
    assert hash_password("correct horse") != STORED


@pytest.mark.parametrize(
    "stored",
    [
        None,
        "",
        "x",
        "$bcrypt$ln=14,r=8,p=1$AAAA$AAAA",
        "$scrypt$ln=14,r=8$AAAA$AAAA",
        "$scrypt$ln=x,r=8,p=1$AAAA$AAAA",
        "$scrypt$ln=30,r=8,p=1$" + STORED.split("$", 3)[3],  # would take a gigabyte and minutes
        "$scrypt$ln=14,r=8,p=1$!!$!!",
    ],
    ids=["none", "empty", "short", "bcrypt", "no p", "no number", "a gigabyte", "not base64"],
)
def test_what_is_not_a_hash_verifies_nothing(stored: str | None) -> None:
    assert not verify_password("", stored)
    assert not verify_password("correct horse", stored)


def test_an_unknown_user_costs_a_hash_too() -> None:
    def seconds(stored: str | None) -> float:
        start = time.process_time()
        verify_password("wrong", stored)
        return time.process_time() - start

    known = min(seconds(STORED) for _ in range(3))
    unknown = min(seconds(None) for _ in range(3))
    assert unknown > known / 3


def test_absurd_passwords() -> None:
    with pytest.raises(PasswordTooLongError):
        hash_password("x" * (PASSWORD_BYTES_MAX + 1))
    assert not verify_password("x" * (PASSWORD_BYTES_MAX + 1), STORED)


async def test_a_second_login_does_not_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def counted(password: str, stored: str | None) -> bool:
        calls.append(password)
        return verify_password(password, stored)

    monkeypatch.setattr(passwords, "verify_password", counted)
    hasher = Hasher()
    assert await hasher.verify("correct horse", STORED)
    assert await hasher.verify("correct horse", STORED)
    assert calls == ["correct horse"]
    assert not await hasher.verify("wrong", STORED)  # failures are never remembered
    assert not await hasher.verify("wrong", STORED)
    assert calls == ["correct horse", "wrong", "wrong"]
    other = hash_password("another")
    assert not await hasher.verify("correct horse", other)  # nor does one hash's entry open another


def test_the_cache_is_bounded_and_forgets_the_oldest() -> None:
    cache = VerifyCache(entries_max=2)
    for name in ("a", "b"):
        cache.remember(name, "stored")
    assert cache.knows("a", "stored")  # now b is the oldest
    cache.remember("c", "stored")
    assert len(cache) == 2
    assert (cache.knows("a", "stored"), cache.knows("b", "stored")) == (True, False)
    assert not VerifyCache().knows("a", "stored")


async def test_too_many_at_once_are_told_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "verify_password", lambda password, stored: False)
    hasher = Hasher()
    answers = await asyncio.gather(
        *(hasher.verify("x", None) for _ in range(HASHES_WAITING_MAX + 5)), return_exceptions=True
    )
    refused = [answer for answer in answers if isinstance(answer, UnavailableError)]
    assert len(refused) == 5
    assert not await hasher.verify("x", None)  # and later there is room again

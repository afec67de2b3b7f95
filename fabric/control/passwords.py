"""Passwords at rest: scrypt, as text `$scrypt$ln=14,r=8,p=1$SALT$KEY` (base64 without padding).

Hashing takes about 50 ms of CPU and 16 MiB, always in a thread, a few at a time. `VerifyCache` remembers
what was verified, so that test suites and scripts that log in again and again do not pay each time; it
holds keyed digests only, is bounded, and an entry counts for one stored hash alone: a changed password
voids it by itself.

Source: RFC 7914 (scrypt); parameters N=2^14, r=8, p=1 as Keystone's default hasher uses.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fabric.control.errors import UnavailableError

PASSWORD_BYTES_MAX = 4096  # of UTF-8; scrypt itself has no limit, a request should
CACHE_ENTRIES_MAX = 4096
HASHES_AT_ONCE_MAX = 2  # 16 MiB and a core each
HASHES_WAITING_MAX = 64  # about two seconds' worth; more are told to come back

_LN, _R, _P = 14, 8, 1
_LN_MAX, _R_MAX, _P_MAX = 17, 16, 4  # of a stored hash: what it may cost us to verify it
_SALT_BYTES, _KEY_BYTES = 16, 32
_MEMORY_BYTES_MAX = 512 * 1024 * 1024


class PasswordTooLongError(ValueError):
    pass


@dataclass(frozen=True, slots=True)
class _Parsed:
    ln: int
    r: int
    p: int
    salt: bytes
    key: bytes


def hash_password(password: str) -> str:
    """Blocks for about 50 ms: from the event loop use `Hasher.hash`. Raises: PasswordTooLongError."""
    salt = secrets.token_bytes(_SALT_BYTES)
    key = _derive(_encoded(password), _Parsed(_LN, _R, _P, salt, b"\x00" * _KEY_BYTES))
    return f"$scrypt$ln={_LN},r={_R},p={_P}${_b64(salt)}${_b64(key)}"


def verify_password(password: str, stored: str | None) -> bool:
    """Constant work: with no, or an unreadable, stored hash as much is computed as with one. Blocks."""
    parsed = _parse(stored) if stored is not None else None
    reference = parsed or _parse(_DUMMY)
    assert reference is not None
    try:
        encoded = _encoded(password)
    except PasswordTooLongError:
        return False
    matches = hmac.compare_digest(_derive(encoded, reference), reference.key)
    return matches and parsed is not None


class Hasher:
    """Hashing off the event loop, with the cache. One for each process."""

    def __init__(self) -> None:
        self._cache = VerifyCache()
        self._slots = asyncio.Semaphore(HASHES_AT_ONCE_MAX)
        self._waiting_count = 0

    async def hash(self, password: str) -> str:
        """Raises: PasswordTooLongError, UnavailableError (too many at once)."""
        async with self._slot():
            return await asyncio.to_thread(hash_password, password)

    async def verify(self, password: str, stored: str | None) -> bool:
        """Raises: UnavailableError (too many at once)."""
        if stored is not None and self._cache.knows(password, stored):
            return True
        async with self._slot():
            is_right = await asyncio.to_thread(verify_password, password, stored)
        if is_right and stored is not None:
            self._cache.remember(password, stored)
        return is_right

    @asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        if self._waiting_count >= HASHES_WAITING_MAX:
            raise UnavailableError("Too many are logging in at this moment. Try again.")
        self._waiting_count += 1
        try:
            async with self._slots:
                yield
        finally:
            self._waiting_count -= 1


class VerifyCache:
    """(password, stored hash) pairs seen to match, least recently used forgotten first."""

    def __init__(self, entries_max: int = CACHE_ENTRIES_MAX) -> None:
        self._key = secrets.token_bytes(32)  # digests are worth nothing outside this process
        self._entries: OrderedDict[bytes, None] = OrderedDict()
        self._entries_max = entries_max

    def knows(self, password: str, stored: str) -> bool:
        digest = self._digest(password, stored)
        if digest not in self._entries:
            return False
        self._entries.move_to_end(digest)
        return True

    def remember(self, password: str, stored: str) -> None:
        self._entries[self._digest(password, stored)] = None
        while len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def __len__(self) -> int:
        return len(self._entries)

    def _digest(self, password: str, stored: str) -> bytes:
        digest = hashlib.blake2b(key=self._key, digest_size=32)
        hash_bytes = stored.encode()
        digest.update(len(hash_bytes).to_bytes(4, "big") + hash_bytes + password.encode())
        return digest.digest()


def _encoded(password: str) -> bytes:
    data = password.encode()
    if len(data) > PASSWORD_BYTES_MAX:
        raise PasswordTooLongError(f"A password is at most {PASSWORD_BYTES_MAX} bytes long.")
    return data


def _derive(password: bytes, parsed: _Parsed) -> bytes:
    return hashlib.scrypt(
        password,
        salt=parsed.salt,
        n=1 << parsed.ln,
        r=parsed.r,
        p=parsed.p,
        maxmem=_MEMORY_BYTES_MAX,
        dklen=len(parsed.key),
    )


def _parse(stored: str) -> _Parsed | None:
    """None for what is not one of ours, or would cost too much."""
    parts = stored.split("$")
    if len(parts) != 5 or parts[0] != "" or parts[1] != "scrypt":
        return None
    try:
        values = dict(item.split("=", 1) for item in parts[2].split(","))
        ln, r, p = int(values["ln"]), int(values["r"]), int(values["p"])
        salt, key = _unb64(parts[3]), _unb64(parts[4])
    except (KeyError, ValueError, binascii.Error):
        return None
    is_sane = 1 <= ln <= _LN_MAX and 1 <= r <= _R_MAX and 1 <= p <= _P_MAX and 16 <= len(key) <= 64
    return _Parsed(ln, r, p, salt, key) if is_sane else None


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def _unb64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


_DUMMY = f"$scrypt$ln={_LN},r={_R},p={_P}${_b64(bytes(_SALT_BYTES))}${_b64(bytes(_KEY_BYTES))}"

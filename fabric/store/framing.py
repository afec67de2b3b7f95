"""What every record on disk has around it: a magic, its length, a checksum. Pure.

    record = magic(4) length(u32) crc(u32) body

`crc` is zlib's CRC-32 over length and body: the standard library has no CRC-32C, and a C extension for it
would be one more thing to install. Records name their predecessor by `hash_bytes`, so one that was swapped,
dropped or rewritten is found even where its checksum is right.
"""

from __future__ import annotations

import struct
import zlib
from hashlib import blake2b

HASH_BYTES = 32
GENESIS = bytes(HASH_BYTES)  # what the first record of all names as its predecessor

_PREFIX = struct.Struct(">4sII")
_LENGTH = struct.Struct(">I")
PREFIX_BYTES = _PREFIX.size


def hash_bytes(data: bytes) -> bytes:
    return blake2b(data, digest_size=HASH_BYTES).digest()


def frame(magic: bytes, body: bytes) -> bytes:
    return _PREFIX.pack(magic, len(body), _crc(body)) + body


def unframe(magic: bytes, data: bytes, offset: int) -> bytes | None:
    """The body of the record at `offset`, None when there is no whole and sound one."""
    start = offset + PREFIX_BYTES
    if start > len(data):
        return None
    found, length, crc = _PREFIX.unpack_from(data, offset)
    if found != magic or start + length > len(data):
        return None
    body = data[start : start + length]
    return body if _crc(body) == crc else None


def body_bytes(magic: bytes, prefix: bytes) -> int | None:
    """How long the body is of the record that begins so; None when none does. It is not checked yet."""
    if len(prefix) < PREFIX_BYTES:
        return None
    found, length, _ = _PREFIX.unpack_from(prefix)
    return int(length) if found == magic else None


def _crc(body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(_LENGTH.pack(len(body))))

"""A hash over all a node knows, in 256 buckets. A change costs two hashes whatever the size."""

from __future__ import annotations

import hashlib
import struct

from proto.ids import NodeId
from proto.membership import BUCKETS, ROOT_BYTES, Version

_NUMBERS = struct.Struct(">5Q")


def bucket_of(node_id: NodeId) -> int:
    """Ids are hashes, so their first byte spreads evenly."""
    return int(node_id[:2], 16)


def hash_of(version: Version) -> int:
    """64 bits of blake2b over the id and the five numbers. Equal knowledge gives equal hashes."""
    numbers = _NUMBERS.pack(
        version.epoch, version.incarnation, version.version, version.load, version.verdict
    )
    data = bytes.fromhex(version.node_id) + numbers
    return int.from_bytes(hashlib.blake2b(data, digest_size=ROOT_BYTES).digest(), "big")


class BucketDigest:
    """XOR of the hashes in each bucket. Adding the same hash twice removes it."""

    def __init__(self) -> None:
        self._buckets = [0] * BUCKETS
        self._bytes = bytearray(BUCKETS * ROOT_BYTES)  # the same, as it travels
        self._root = 0
        self.root = bytes(ROOT_BYTES)

    def toggle(self, node_id: NodeId, hashed: int) -> None:
        if hashed:
            bucket = bucket_of(node_id)
            changed = self._buckets[bucket] ^ hashed
            self._buckets[bucket] = changed
            at = bucket * ROOT_BYTES
            self._bytes[at : at + ROOT_BYTES] = changed.to_bytes(ROOT_BYTES, "big")
            self._root ^= hashed
            self.root = self._root.to_bytes(ROOT_BYTES, "big")

    def roots(self) -> bytes:
        """All bucket hashes, 2,048 bytes."""
        return bytes(self._bytes)

    def differing(self, theirs: bytes) -> list[int]:
        mine = self._bytes
        if mine == theirs:
            return []
        starts = range(0, BUCKETS * ROOT_BYTES, ROOT_BYTES)
        return [
            at // ROOT_BYTES for at in starts if mine[at : at + ROOT_BYTES] != theirs[at : at + ROOT_BYTES]
        ]

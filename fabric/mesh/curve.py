"""CURVE keys, as 32 raw bytes each (Z85 text is only for files and people; we need neither)."""

from __future__ import annotations

from dataclasses import dataclass, field

import zmq
from zmq.utils import z85

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class CurveKeyPair:
    public: bytes
    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.public) != KEY_BYTES or len(self.secret) != KEY_BYTES:
            raise ValueError("CURVE keys have 32 bytes")


def new_curve_key_pair() -> CurveKeyPair:
    public, secret = zmq.curve_keypair()
    return CurveKeyPair(z85.decode(public), z85.decode(secret))


def curve_public_of(secret: bytes) -> bytes:
    return z85.decode(zmq.curve_public(z85.encode(secret)))

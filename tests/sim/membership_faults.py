"""What can befall a frame on its way. TCP would hide most of it; the core must not need that."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from proto.codec import FRAME_BYTES_MAX, pack, unpack
from proto.envelope import WIRE_VERSION

OVERSIZED = bytes(FRAME_BYTES_MAX + 1)
INTACT = None  # the frame itself, so that it need not be decoded once more


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFaults:
    """Shares of all frames, 0 to 1, and the delay every frame has. With a wide delay frames overtake
    each other."""

    loss: float = 0.0
    duplicates: float = 0.0
    flipped: float = 0.0  # one byte is another
    truncated: float = 0.0
    oversized: float = 0.0
    unknown_version: float = 0.0
    delay_ms: tuple[int, int] = (1, 2)
    keeps_order: bool = True  # of one link

    def fates(self, frame: bytes, rng: Random) -> list[tuple[int, bytes | None]]:
        """(delay in ms, what arrives) for each copy; `INTACT` for the frame as it was sent."""
        if rng.random() < self.loss:
            return []
        copies = 2 if rng.random() < self.duplicates else 1
        return [(rng.randint(*self.delay_ms), self._damaged(frame, rng)) for _ in range(copies)]

    def _damaged(self, frame: bytes, rng: Random) -> bytes | None:
        chance = rng.random()
        for share, damage in (
            (self.flipped, flip),
            (self.truncated, truncate),
            (self.oversized, oversize),
            (self.unknown_version, change_version),
        ):
            if chance < share:
                return damage(frame, rng)
            chance -= share
        return INTACT


def flip(frame: bytes, rng: Random) -> bytes:
    at = rng.randrange(len(frame))
    return frame[:at] + bytes([frame[at] ^ rng.randint(1, 255)]) + frame[at + 1 :]


def truncate(frame: bytes, rng: Random) -> bytes:
    return frame[: rng.randrange(len(frame))]


def oversize(_frame: bytes, _rng: Random) -> bytes:
    return OVERSIZED


def change_version(frame: bytes, rng: Random) -> bytes:
    value = unpack(frame)
    assert isinstance(value, list)
    return pack([WIRE_VERSION + rng.randint(1, 9), *value[1:]])

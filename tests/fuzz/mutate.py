"""Mutants that are still well formed: a msgpack value with one thing of its structure changed.

libFuzzer flips bytes, which rarely gets past a parser; this changes a value, drops or doubles an element,
or puts the piece of one place into another. Used beside it, and alone in `test_replay.py`.
"""

from __future__ import annotations

from random import Random
from typing import Any

from proto.codec import pack, unpack
from proto.errors import WireError

TRIES = 3
INTERESTING: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    255,
    256,
    (1 << 53) - 1,
    1 << 53,
    (1 << 53) + 1,
    (1 << 63) - 1,
    (1 << 64) - 1,
    -(1 << 63),
    0.5,
    float("nan"),
    float("inf"),
    "",
    "a",
    "0" * 32,
    "\x00",
    "\U0001f600",
    "here",
    "left",
    "leaving",
    "silent",
    "refused",
    "reachable",
    b"",
    bytes(8),
    bytes(16),
    bytes(32),
    bytes(64),
    bytes(2_048),
    [],
    {},
    [[]],
    {"": {}},
)


def mutant(data: bytes, rng: Random, *, head: int = 0) -> bytes:
    """`data` with its structure changed; the first `head` bytes are kept or changed by themselves. What is no
    msgpack is returned with one byte changed."""
    try:
        value = unpack(data[head:])
    except WireError:
        return flipped(data, rng)
    for _ in range(rng.randint(1, TRIES)):
        value = _changed(value, rng)
    first = bytes([rng.randrange(256)]) if head and rng.random() < 0.1 else data[:head]
    try:
        return first + pack(value)
    except WireError:
        return flipped(data, rng)


def flipped(data: bytes, rng: Random) -> bytes:
    if not data:
        return bytes([rng.randrange(256)])
    changed = bytearray(data)
    at = rng.randrange(len(changed))
    match rng.randrange(4):
        case 0:
            changed[at] ^= 1 << rng.randrange(8)
        case 1:
            changed[at] = rng.randrange(256)
        case 2:
            del changed[at:]
        case _:
            changed[at:at] = rng.randbytes(rng.randint(1, 4))
    return bytes(changed)


def _changed(value: Any, rng: Random) -> Any:
    """One place of the value, at any depth, made something else."""
    places = list(_places(value))
    if not places or rng.random() < 0.03:
        return _interesting(rng)
    container, key = rng.choice(places)
    match rng.randrange(7):
        case 0:
            del container[key]
        case 1:
            container[key] = _interesting(rng)
        case 2:
            other, there = rng.choice(places)
            if there in other if isinstance(other, dict) else there < len(other):
                container[key] = _copied(other[there])
        case 3 if isinstance(container, list):
            container[key:key] = [_copied(container[key])] * rng.choice((1, 2, 17, 300))
        case 4 if isinstance(container, dict):
            container[rng.choice(("", "later", "x" * 70))] = _interesting(rng)
        case _:
            container[key] = _nudged(container[key], rng)
    return value


def _nudged(value: Any, rng: Random) -> Any:
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, -256, 256, 1 << 32))
    if isinstance(value, bytes):
        return flipped(value, rng)
    if isinstance(value, str):
        return flipped(value.encode(), rng).decode(errors="replace")
    if isinstance(value, list):
        return value[::-1]
    return _interesting(rng)


def _interesting(rng: Random) -> Any:
    return _copied(rng.choice(INTERESTING))


def _copied(value: Any) -> Any:
    if isinstance(value, list):
        return [_copied(item) for item in value]
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _places(value: Any) -> Any:
    """(container, key) of all that sits in something."""
    if isinstance(value, list):
        for i, item in enumerate(value):
            yield value, i
            yield from _places(item)
    elif isinstance(value, dict):
        for key, item in list(value.items()):
            yield value, key
            yield from _places(item)

"""The outermost shape of every mesh frame: version, fabric tag, kind, body. See SPEC.md, section 2.

The head of a frame has one encoding only, so that version, fabric and kind are known, and most of what is
not ours is dropped, before anything is parsed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from proto.bounds import BOUNDS
from proto.codec import FRAME_BYTES_MAX, Plain, pack, unpack
from proto.errors import WireError
from proto.ids import FabricId
from proto.records import from_wire, to_wire

WIRE_VERSION = 1
TAG_BYTES = 8
KIND_CHARS_MAX = 64
ENVELOPE_ITEMS_MAX = 15  # version, tag, kind, body, and what later versions of this version add
_KIND = re.compile(rb"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)+")
_ARRAYS = range(0x94, 0x90 + ENVELOPE_ITEMS_MAX + 1)  # msgpack fixarray of 4 to 15
_BIN8 = b"\xc4" + bytes([TAG_BYTES])
_FIXSTR, _STR8 = 0xA0, 0xD9
_TAG_AT = 2
_KIND_AT = _TAG_AT + len(_BIN8) + TAG_BYTES
_KNOWN = {kind.encode(): (kind, bounds) for kind, bounds in BOUNDS.items()}


class Message(Protocol):
    """A frozen dataclass with a stable name, "conversation.verb"; the name is never reused."""

    KIND: ClassVar[str]


M = TypeVar("M")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A frame whose outside is proven well formed; the body is not looked at yet."""

    kind: str
    body: dict[str, Plain]


def fabric_tag(fabric_id: FabricId) -> bytes:
    """Eight bytes that keep frames of two fabrics apart. Not a secret and not a proof: CURVE proves."""
    return hashlib.blake2b(fabric_id.encode(), digest_size=TAG_BYTES).digest()


def encode(message: Message, tag: bytes) -> bytes:
    """Raises WireError: `frame_too_long` for what `decode` would refuse for its length, `unpackable`."""
    return encode_body(message.KIND, to_wire(message), tag)


def encode_body(kind: str, body: Mapping[str, Plain], tag: bytes) -> bytes:
    """Of a body that is plain already. Raises WireError as `encode` does."""
    assert len(tag) == TAG_BYTES
    return pack([WIRE_VERSION, tag, kind, body], limit=BOUNDS[kind].frame_bytes)


def decode(frame: bytes, tag: bytes) -> Envelope:
    """Bytes from outside to an envelope of this fabric and this version.

    Raises:
        WireError: `frame_too_long`, `not_an_envelope`, `unknown_version`, `wrong_fabric`, `bad_kind`,
            `unknown_kind`, `malformed`, `too_many`, `too_deep`, `not_a_map`.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise WireError("frame_too_long", f"{len(frame)} bytes, at most {FRAME_BYTES_MAX}")
    name = _kind_of(frame, tag)
    known = _KNOWN.get(name)
    if known is None:
        raise WireError("unknown_kind" if _KIND.fullmatch(name) else "bad_kind")
    kind, bounds = known
    value = unpack(frame, limit=bounds.frame_bytes, items_max=bounds.items, containers_max=bounds.containers)
    assert isinstance(value, list)  # `_kind_of` saw the array's header
    body = value[3]
    if not isinstance(body, dict):
        raise WireError("not_a_map")
    return Envelope(kind, body)


def parse(envelope: Envelope, kinds: Mapping[str, type[M]]) -> M:
    """The body as the message its kind names. Raises WireError: `unknown_kind`, `bad_field`."""
    kind = kinds.get(envelope.kind)
    if kind is None:
        raise WireError("unknown_kind", envelope.kind)
    return from_wire(kind, envelope.body, envelope.kind)


def _kind_of(frame: bytes, tag: bytes) -> bytes:
    """Reads the head without parsing: each of its parts has one place and one encoding. The kind is raw."""
    if len(frame) <= _KIND_AT or frame[0] not in _ARRAYS:
        raise WireError("not_an_envelope")
    if frame[1] != WIRE_VERSION:
        raise WireError("unknown_version")
    if not frame.startswith(_BIN8 + tag, _TAG_AT):
        raise WireError("wrong_fabric")
    head = frame[_KIND_AT]
    if head == _STR8:
        start, length = _KIND_AT + 2, frame[_KIND_AT + 1] if len(frame) > _KIND_AT + 1 else 0
    else:
        start, length = _KIND_AT + 1, head - _FIXSTR
    kind = frame[start : start + length] if 0 < length <= KIND_CHARS_MAX else b""
    if not kind or len(kind) != length:
        raise WireError("bad_kind")
    return kind

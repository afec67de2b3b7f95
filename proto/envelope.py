"""The outermost shape of every mesh frame: version, fabric tag, kind, body. See SPEC.md, section 2."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol, TypeVar

from proto.codec import FRAME_BYTES_MAX, Plain, pack, unpack
from proto.errors import WireError
from proto.ids import FabricId
from proto.records import from_wire, to_wire

WIRE_VERSION = 1
TAG_BYTES = 8
KIND_CHARS_MAX = 64
_KIND = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


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
    """Raises WireError: `frame_too_long`, `unpackable`."""
    assert len(tag) == TAG_BYTES
    return pack([WIRE_VERSION, tag, message.KIND, to_wire(message)], limit=FRAME_BYTES_MAX)


def decode(frame: bytes, tag: bytes) -> Envelope:
    """Bytes from outside to an envelope of this fabric and this version.

    Raises:
        WireError: `frame_too_long`, `malformed`, `too_deep`, `not_an_envelope`, `unknown_version`,
            `wrong_fabric`, `bad_kind`, `not_a_map`.
    """
    value = unpack(frame, limit=FRAME_BYTES_MAX)
    if not isinstance(value, list) or len(value) < 4:
        raise WireError("not_an_envelope")
    version, their_tag, kind, body = value[:4]
    if type(version) is not int or version != WIRE_VERSION:
        raise WireError("unknown_version")
    if their_tag != tag:
        raise WireError("wrong_fabric")
    if not isinstance(kind, str) or len(kind) > KIND_CHARS_MAX or not _KIND.fullmatch(kind):
        raise WireError("bad_kind")
    if not isinstance(body, dict) or not all(isinstance(key, str) for key in body):
        raise WireError("not_a_map")
    return Envelope(kind, body)


def parse(envelope: Envelope, kinds: Mapping[str, type[M]]) -> M:
    """The body as the message its kind names. Raises WireError: `unknown_kind`, `bad_field`."""
    kind = kinds.get(envelope.kind)
    if kind is None:
        raise WireError("unknown_kind", envelope.kind)
    return from_wire(kind, envelope.body, envelope.kind)

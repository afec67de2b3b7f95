"""The request/reply conversation. See SPEC.md, section 5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from proto.errors import Outcome

CALL_ID_MAX = (1 << 63) - 1
METHOD_CHARS_MAX = 64
CODE_CHARS_MAX = 128
MESSAGE_CHARS_MAX = 2_000
TIMEOUT_MS_MAX = 3_600_000
CHUNK_BYTES_MAX = 512 * 1024  # of one StreamChunk; half a frame
CREDIT_MAX = 64  # chunks under way on one stream
SEQUENCE_MAX = 1 << 53


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """`timeout_ms` is what is left when it was sent; after that nobody waits for the answer. With
    `credit` above 0 the answer is a stream, and that many chunks may be sent at first."""

    KIND: ClassVar[str] = "rpc.request"
    call_id: int
    method: str
    body: Mapping[str, object]
    timeout_ms: int
    credit: int = 0

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)
        if not 0 < len(self.method) <= METHOD_CHARS_MAX:
            raise ValueError("method is empty or too long")
        if not 0 < self.timeout_ms <= TIMEOUT_MS_MAX:
            raise ValueError("timeout_ms out of range")
        if not 0 <= self.credit <= CREDIT_MAX:
            raise ValueError("credit out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    KIND: ClassVar[str] = "rpc.reply"
    call_id: int
    body: object

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorReply:
    """Ends a call or a stream. `outcome` is the answering side's claim."""

    KIND: ClassVar[str] = "rpc.error"
    call_id: int
    code: str
    message: str
    outcome: Outcome

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)
        if len(self.code) > CODE_CHARS_MAX or len(self.message) > MESSAGE_CHARS_MAX:
            raise ValueError("code or message too long")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamChunk:
    """`sequence` counts from 0 without holes; a hole means a lost frame and ends the stream."""

    KIND: ClassVar[str] = "rpc.chunk"
    call_id: int
    sequence: int
    data: bytes

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)
        _check_sequence(self.sequence)
        if len(self.data) > CHUNK_BYTES_MAX:
            raise ValueError("chunk too long")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCredit:
    """So many more chunks may be sent."""

    KIND: ClassVar[str] = "rpc.credit"
    call_id: int
    chunks: int

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)
        if not 0 < self.chunks <= CREDIT_MAX:
            raise ValueError("chunks out of range")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEnd:
    """`chunks` is how many were sent in all: the reader can tell that none is missing."""

    KIND: ClassVar[str] = "rpc.end"
    call_id: int
    chunks: int

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)
        _check_sequence(self.chunks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Nobody waits for this call any more."""

    KIND: ClassVar[str] = "rpc.cancel"
    call_id: int

    def __post_init__(self) -> None:
        _check_call_id(self.call_id)


RpcMessage = Request | Reply | ErrorReply | StreamChunk | StreamCredit | StreamEnd | Cancel
KINDS: dict[str, type[RpcMessage]] = {
    kind.KIND: kind for kind in (Request, Reply, ErrorReply, StreamChunk, StreamCredit, StreamEnd, Cancel)
}


def _check_call_id(call_id: int) -> None:
    if not 0 <= call_id <= CALL_ID_MAX:
        raise ValueError("call_id out of range")


def _check_sequence(number: int) -> None:
    if not 0 <= number <= SEQUENCE_MAX:
        raise ValueError("sequence out of range")

"""Each decoder as a function of bytes. What it lets pass must survive its own encoder."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import Any

from fabric.core.membership.model import Load
from fabric.core.membership.record import read_load, read_state
from fabric.core.raft.configuration import Configuration, decode_configuration, encode_configuration
from fabric.core.raft.log import SnapshotMark
from fabric.store.command_entry import REQUEST_ID_BYTES_MAX, decode_command_entry, encode_command_entry
from fabric.store.errors import LogCorruptError, SnapshotRefusedError
from fabric.store.framing import HASH_BYTES, frame
from fabric.store.voter_record import MAGIC, decode_record, encode_record
from fabric.store.voter_tables import check_copy
from proto import certificate as certificates
from proto import codec as codecs
from proto import join as joining
from proto import membership, raft, raft_frames, rpc
from proto.commands import decode_command, encode_command
from proto.envelope import decode, encode, encode_body, fabric_tag, parse
from proto.errors import WireError
from proto.ids import FabricId, LogIndex, NodeId, Term
from proto.membership import LoadState, NodeState
from proto.records import from_wire, to_wire
from tests.sim.raft_files import SimFiles
from tests.sim.raft_voter_disk import SimLog

TAG = fabric_tag(FabricId("fuzz"))
KINDS: Mapping[str, type[Any]] = {**membership.KINDS, **rpc.KINDS}
MEMBER_KINDS = sorted(membership.KINDS)
RPC_KINDS = sorted(rpc.KINDS)
RAFT_KINDS = sorted(raft_frames.KINDS)
REASONS = frozenset(
    "frame_too_long malformed too_many too_deep not_a_map bad_field not_an_envelope unknown_version"
    " wrong_fabric bad_kind unknown_kind unknown_command not_a_token".split()
)
SEGMENT_BYTES = 16_384
POSITION_COLUMNS = 4
DETAIL_CHARS_MAX = 400  # an error tells the path and the rule, and never repeats what came


def codec(data: bytes) -> None:
    with refusals():
        value = codecs.unpack(data)
        same(codecs.unpack(codecs.pack(value)), value)
    with refusals():
        codecs.unpack_map(data)


def envelope(data: bytes) -> None:
    """Whole frames."""
    with refusals():
        message = parse(decode(data, TAG), KINDS)
        same(parse(decode(encode(message, TAG), TAG), KINDS), message)


def member_message(data: bytes) -> None:
    """One byte of kind, then a body: most mutants get past the head this way."""
    _message(data, MEMBER_KINDS)


def rpc_message(data: bytes) -> None:
    _message(data, RPC_KINDS)


def raft_message(data: bytes) -> None:
    if not data:
        return
    with refusals():
        whole = frame_of(RAFT_KINDS[data[0] % len(RAFT_KINDS)], data[1:])
        address, message = raft_frames.read_raft(decode(whole, TAG))
        again = encode_body(message.KIND, raft_frames.raft_body(address, message), TAG)
        same(raft_frames.read_raft(decode(again, TAG)), (address, message))


def raft_record(data: bytes) -> None:
    """What entries and snapshots say of voters."""
    with refusals():
        configuration = decode_configuration(data)
        assert decode_configuration(encode_configuration(configuration)) == configuration
    with refusals():
        offer = from_wire(raft_frames.SnapshotOffer, codecs.unpack(data))
        assert from_wire(raft_frames.SnapshotOffer, to_wire(offer)) == offer


def command_entry(data: bytes) -> None:
    entry = raft.LogEntry(index=LogIndex(7), term=Term(3), kind=raft.EntryKind.COMMAND, data=data)
    with refusals():
        told = decode_command_entry(entry, not_before_ms=5)
        assert told.time_ms >= 5
        if len(told.request_id.encode()) > REQUEST_ID_BYTES_MAX:
            return  # we never write such a one
        again = encode_command_entry(told.time_ms, told.request_id, encode_command(told.command))
        one = decode_command_entry(dataclasses.replace(entry, data=again), not_before_ms=5)
        same((one.time_ms, one.request_id, one.command), (told.time_ms, told.request_id, told.command))


def voter_record(data: bytes) -> None:
    """As it lies on the disk, and with a frame around it: a fuzzer would never find a right checksum."""
    for record in (data, frame(MAGIC, data), frame(MAGIC, bytes(HASH_BYTES + 16) + data)):
        found = decode_record(record, 0)
        if found is None:
            continue
        again = encode_record(
            found.payload, sequence=found.sequence, previous=found.previous, durable=found.durable
        )
        second = decode_record(again, 0)
        assert second is not None
        same(second.payload, found.payload)


def log_segment(data: bytes) -> None:
    """A segment whose beginning is sound, and what a disk may make of the rest: it is read and gone on from,
    or refused, and what was read once is read again."""
    files = SimFiles()
    log = SimLog(files, SEGMENT_BYTES)
    log.create(SnapshotMark(LogIndex(0), Term(0), Configuration()))
    (name,) = files.names()
    used = len(files.read(name).rstrip(b"\0"))
    files.open(name).write_at(data[: SEGMENT_BYTES - used], used)
    with suppress(LogCorruptError):
        first = SimLog(files, SEGMENT_BYTES).open()
        assert first is not None
        assert SimLog(files, SEGMENT_BYTES).open() == first


def snapshot_mark(data: bytes) -> None:
    """What the tables of a copy say that they hold."""
    with refusals():
        row = codecs.unpack(data)
        if not isinstance(row, list) or len(row) != POSITION_COLUMNS:
            return
        with closing(position_of(row)) as copy:
            _check_copy(copy)


def snapshot_copy(data: bytes) -> None:
    """A whole copy, as it came."""
    with closing(sqlite3.connect(":memory:")) as copy, suppress(sqlite3.Error):
        copy.deserialize(data)
        _check_copy(copy)


def position_of(row: Sequence[Any]) -> sqlite3.Connection:
    """Tables that hold their position only; values no column can hold are none."""
    copy = sqlite3.connect(":memory:")
    copy.execute("PRAGMA page_size = 512")
    copy.execute("CREATE TABLE position (applied_index, applied_term, configuration, schema_version)")
    with suppress(sqlite3.Error, OverflowError):
        copy.execute("INSERT INTO position VALUES (?, ?, ?, ?)", row)
    copy.commit()
    return copy


def _check_copy(copy: sqlite3.Connection) -> None:
    for index, term in ((7, 3), (0, 0)):
        with suppress(SnapshotRefusedError):
            check_copy(copy, SnapshotMark(LogIndex(index), Term(term), Configuration()))


def frame_of(kind: str, body: bytes) -> bytes:
    return b"\x94\x01" + codecs.pack(TAG) + codecs.pack(kind) + body


def _message(data: bytes, kinds: list[str]) -> None:
    if data:
        envelope(frame_of(kinds[data[0] % len(kinds)], data[1:]))


def state_body(data: bytes) -> None:
    with refusals():
        membership.decode_body(data)
    if 0 < len(data) <= membership.BODY_BYTES_MAX:
        with refusals():
            signed = read_state(NodeState(certificate=b"c", body=data, signature=bytes(64)))
            assert signed.record.certificate == b"c"
            assert len(repr(signed.record)) < 64 * membership.BODY_BYTES_MAX


def load_and_removal(data: bytes) -> None:
    with refusals():
        membership.decode_load(data)
    with refusals():
        fabric_id, node_id, removed_ms = membership.decode_removal(data)
        body = membership.encode_removal(fabric_id=fabric_id, node_id=node_id, removed_ms=removed_ms)
        assert membership.decode_removal(body) == (fabric_id, node_id, removed_ms)
    if 0 < len(data) <= membership.LOAD_BYTES_MAX:
        state = LoadState(node_id=NodeId("0" * 32), epoch=1, version=1, body=data)
        assert isinstance(read_load(state), Load)  # what is not readable counts as not said


def certificate(data: bytes) -> None:
    with refusals():
        signed = certificates.decode_signed(data)
        assert certificates.decode_signed(certificates.encode_signed(signed)) == signed
    with refusals():
        told = certificates.parse_certificate_body(data)
        assert certificates.parse_certificate_body(certificates.certificate_body(told)) == told


def join(data: bytes) -> None:
    with refusals():
        request = joining.decode_request(data)
        assert joining.decode_request(joining.encode_request(request)) == request
    with refusals():
        reply = joining.decode_reply(data)
        assert joining.decode_reply(joining.encode_reply(reply)) == reply


def join_token(data: bytes) -> None:
    text = data.decode(errors="replace")
    for candidate in (text, joining.TOKEN_PREFIX + text, joining.sealed(data)):
        with refusals():
            token = joining.parse_token_text(candidate)
            assert joining.parse_token_text(joining.token_text(token)) == token


def command(data: bytes) -> None:
    with refusals():
        told = decode_command(data)
        same(decode_command(encode_command(told)), told)


class refusals(suppress):  # reads as a statement
    """Lets a WireError with a known reason pass, and nothing else. What got through once may be refused when
    it is encoded again only for being too long: an integer in a float's place grows."""

    def __init__(self) -> None:
        super().__init__(WireError)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        if isinstance(error, WireError):
            assert error.reason in REASONS, error.reason
            assert len(error.detail) <= DETAIL_CHARS_MAX, len(error.detail)
        return super().__exit__(kind, error, trace)


def same(one: object, other: object) -> None:
    """By `repr`: NaN equals itself and 1 differs from True."""
    assert one == other or repr(one) == repr(other)

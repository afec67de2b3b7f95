"""Where fuzzing starts from: honest messages of every kind, made anew each time, so that no pile of files
goes stale."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from functools import cache
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings

from fabric.core.membership.model import Inventory, Load, RoleClaim
from fabric.core.membership.record import body_of
from fabric.core.raft.configuration import Configuration, encode_configuration
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.ready import HardState
from fabric.store.command_entry import encode_command_entry
from fabric.store.framing import HASH_BYTES, PREFIX_BYTES
from fabric.store.schema import SCHEMA_VERSION
from fabric.store.voter_record import Restart, encode_record
from proto import join, membership, raft, raft_frames, rpc
from proto.certificate import NodeCertificate, SignedCertificate, certificate_body, encode_signed
from proto.codec import pack
from proto.commands import all_commands, encode_command
from proto.envelope import encode
from proto.ids import LogIndex, RequestId, Term
from proto.records import to_wire
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.wire_values import PLAIN, VOTER_IDS, records
from tests.fuzz.decoders import MEMBER_KINDS, RAFT_KINDS, RPC_KINDS, SEGMENT_BYTES, TAG, position_of
from tests.sim.raft_files import SimFiles
from tests.sim.raft_voter_disk import SimLog

EXAMPLES = 4  # of each kind


@cache
def examples(kind: Any, count: int = EXAMPLES) -> list[Any]:
    """Always the same honest records of `kind`."""
    found: list[Any] = []

    @settings(
        max_examples=count,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        deadline=None,
    )
    @given(records(kind) if isinstance(kind, type) else kind)
    def collect(record: Any) -> None:
        found.append(record)

    collect()
    return found


def plain_values() -> Iterator[bytes]:
    yield from (pack(value) for value in examples(PLAIN, 40))
    yield from (b"", b"\xc1", b"\x91" * 40, b"\xdd\x00\x00\xff\xff" * 4, b"\xdf\x00\x00\x00\x01\xa0\x80")


def frames() -> Iterator[bytes]:
    for kind in (*membership.KINDS.values(), *rpc.KINDS.values()):
        yield from (encode(message, TAG) for message in examples(kind, 2))
    yield pack([1, TAG, "rpc.cancel", {"call_id": 3}, "later", 5])


def member_bodies() -> Iterator[bytes]:
    for i, kind in enumerate(MEMBER_KINDS):
        yield from (bytes([i]) + pack(to_wire(m)) for m in examples(membership.KINDS[kind]))


def rpc_bodies() -> Iterator[bytes]:
    for i, kind in enumerate(RPC_KINDS):
        yield from (bytes([i]) + pack(to_wire(m)) for m in examples(rpc.KINDS[kind]))


def raft_bodies() -> Iterator[bytes]:
    of_kind = {kind.KIND: kind for kind in raft.RAFT_MESSAGES}
    (address,) = examples(raft_frames.RaftAddress, 1)
    for i, kind in enumerate(RAFT_KINDS):
        for message in examples(of_kind[kind]):
            yield bytes([i]) + pack(raft_frames.raft_body(address, message))


def configurations() -> list[Configuration]:
    a, b, c = examples(VOTER_IDS, 3)
    return [
        Configuration(frozenset([a])),
        Configuration(frozenset([a, b]), learners=frozenset([c])),
        Configuration(frozenset([b, c]), outgoing=frozenset([a, b])),
    ]


def raft_records() -> Iterator[bytes]:
    yield from map(encode_configuration, configurations())
    yield from (pack(to_wire(offer)) for offer in examples(raft_frames.SnapshotOffer))


def command_entries() -> Iterator[bytes]:
    for kind in all_commands().values():
        for command in examples(kind, 1):
            yield encode_command_entry(1_700_000_000_000, RequestId("req-1"), encode_command(command))


def voter_records() -> Iterator[bytes]:
    """Whole records, and what is inside them: the target frames that anew."""
    marks = [SnapshotMark(LogIndex(9), Term(2), known) for known in (Configuration(), *configurations())]
    payloads = [
        *examples(raft.LogEntry),
        HardState(Term(3)),
        HardState(Term(4), examples(VOTER_IDS, 1)[0]),
        *marks,
        *map(Restart, marks),
    ]
    for sequence, payload in enumerate(payloads):
        record = encode_record(payload, sequence=sequence, previous=bytes(HASH_BYTES), durable=0)
        yield record
        yield record[PREFIX_BYTES:]
        yield record[PREFIX_BYTES + HASH_BYTES + 16 :]


def log_segments() -> Iterator[bytes]:
    """What follows the two records with which each segment begins; the last record of a torn group, too."""
    files = SimFiles()
    log = SimLog(files, SEGMENT_BYTES)
    log.create(SnapshotMark(LogIndex(0), Term(0), Configuration()))
    (name,) = files.names()
    used = len(files.read(name).rstrip(b"\0"))
    yield b""
    for number in range(1, 4):
        entries = [
            raft.LogEntry(index=LogIndex(2 * number - back), term=Term(number), kind=kind, data=b"x" * 40)
            for back, kind in ((1, raft.EntryKind.COMMAND), (0, raft.EntryKind.NOTHING))
        ]
        log.write(hard_state=HardState(Term(number)), entries=entries)
        yield files.read(name)[used:].rstrip(b"\0")
    log.compact(SnapshotMark(LogIndex(4), Term(2), Configuration()))
    yield files.read(name)[used:].rstrip(b"\0")


def positions() -> Iterator[list[Any]]:
    for known in (b"", *map(encode_configuration, configurations())):
        yield [7, 3, known, SCHEMA_VERSION]
    yield [0, 0, b"", SCHEMA_VERSION]
    yield [7, 3, b"", SCHEMA_VERSION + 1]


def snapshot_marks() -> Iterator[bytes]:
    yield from map(pack, positions())


def snapshot_copies() -> Iterator[bytes]:
    for row in positions():
        with closing(position_of(row)) as copy:
            yield copy.serialize()


def state_bodies() -> Iterator[bytes]:
    plain = FakeNode("n1").record()
    full = FakeNode("n2").record(epoch=3, incarnation=2, version=40)
    fields = {
        "roles": (RoleClaim(role="host", fence=7, since_ms=1), RoleClaim(role="api", fence=9, since_ms=2)),
        "api_urls": ("http://10.0.0.2:8774",),
        "labels": {"row": "3", "ssd": "yes"},
        "inventory": Inventory(vcpus=8, memory_mb=32_768, disk_gb=400, hypervisor="QEMU"),
        "rack": "r7",
        "uptime_ms": 99,
    }
    for presence in membership.Presence:
        yield body_of(plain, presence=presence)
        yield body_of(type(full)(**{**_shallow(full), **fields}), presence=presence)


def loads_and_removals() -> Iterator[bytes]:
    yield from (membership.encode_load(to_wire(load)) for load in examples(Load))
    yield membership.encode_removal(fabric_id="f", node_id=FakeNode("n1").node_id, removed_ms=5)


def certificates() -> Iterator[bytes]:
    for certificate in examples(NodeCertificate):
        body = certificate_body(certificate)
        yield body
        yield encode_signed(SignedCertificate(body=body, signature=bytes(64)))


def join_frames() -> Iterator[bytes]:
    yield from (join.encode_request(request) for request in examples(join.JoinRequest))
    yield from (join.encode_reply(reply) for reply in examples(join.JoinReply))
    yield from (join.encode_reply(refusal) for refusal in examples(join.JoinRefusal))


def join_tokens() -> Iterator[bytes]:
    for token in examples(join.JoinTokenText):
        yield join.token_text(token).encode()
        yield pack(to_wire(token))  # the target seals it: a fuzzer would never find a right checksum


def commands() -> Iterator[bytes]:
    for kind in all_commands().values():
        yield from (encode_command(command) for command in examples(kind, 2))


def _shallow(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}

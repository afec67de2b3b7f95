"""Which words of libvirt's protocol pass. Frames are built as a libvirtd of 9.0 was seen to send them."""

from __future__ import annotations

import struct

import pytest

from drivers.libvirt.rpc_gate import MESSAGE_BYTES_MAX, Expected, RpcGate
from proto.errors import DriverError

REMOTE, KEEPALIVE, QEMU = 0x20008086, 0x6B656570, 0x20008087
NAME = "fabric-9a3c0e1e-6b7c-4a0f-8a51-0d0c3a5e7b11"
MEMORY_URI, DISKS_URI = "unix:///run/x/memory", "unix:///run/x/disks"
HONEST = {
    "destination_xml": "<domain/>",
    "destination_name": NAME,
    "migrate_uri": MEMORY_URI,
    "disks_uri": DISKS_URI,
}
FLAGS = 1 | 2 | 8 | 16 | 128 | 4096 | 8192


def frame(procedure: int, body: bytes = b"", *, program: int = REMOTE, kind: int = 0) -> bytes:
    return struct.pack(">7I", 28 + len(body), program, 1, procedure, kind, 7, 0) + body


def opaque(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data + b"\0" * (-len(data) % 4)


def parameters(values: dict[str, str], *, bandwidth: int | None = 32) -> bytes:
    made = b"".join(opaque(k.encode()) + struct.pack(">I", 7) + opaque(v.encode()) for k, v in values.items())
    if bandwidth is not None:
        made += opaque(b"bandwidth") + struct.pack(">IQ", 4, bandwidth)
    return struct.pack(">I", len(values) + (bandwidth is not None)) + made


def prepare(
    values: dict[str, str] = HONEST, *, cookie: bytes = b"", flags: int = FLAGS, proc: int = 303
) -> bytes:
    return frame(proc, parameters(values) + opaque(cookie) + struct.pack(">I", flags))


@pytest.fixture
def seen() -> list[str]:
    return []


@pytest.fixture
def gate(seen: list[str]) -> RpcGate:
    def check(xml: str) -> None:
        seen.append(xml)
        if "evil" in xml:
            raise DriverError("evil")

    return RpcGate(Expected(domain_name=NAME, memory_uri=MEMORY_URI, disks_uri=DISKS_URI, check_domain=check))


CONVERSATION = (
    frame(66),
    frame(60, struct.pack(">I", 10)),
    frame(1, struct.pack(">I", 1) + opaque(b"qemu:///system") + struct.pack(">I", 0)),
    frame(360),
    prepare(cookie=b"<qemu-migration><name>x</name></qemu-migration>\0"),
    frame(1, program=KEEPALIVE, kind=2),
    prepare(proc=306, cookie=b"<qemu-migration><domain type='qemu'/></qemu-migration>\0"),
    frame(361),
    frame(2),
)


def test_a_migration_passes_unchanged_however_it_is_cut(gate: RpcGate, seen: list[str]) -> None:
    whole = b"".join(CONVERSATION)
    passed = b"".join(gate.feed(whole[at : at + 7]) for at in range(0, len(whole), 7))
    assert passed == whole
    assert [xml[:7] for xml in seen] == ["<domain", "<domain", "<domain"]


def test_nothing_passes_before_its_frame_is_whole(gate: RpcGate) -> None:
    whole = prepare()
    assert gate.feed(whole[:-1]) == b""
    assert gate.feed(whole[-1:]) == whole


@pytest.mark.parametrize(
    "message",
    [
        frame(12),  # DOMAIN_DESTROY
        frame(11, b"<domain/>"),  # DOMAIN_DEFINE_XML
        frame(302),
        frame(1, program=QEMU),  # monitor commands
        frame(66, kind=4),  # with file descriptors
        frame(66, kind=3),  # a stream
        frame(1, struct.pack(">I", 1) + opaque(b"qemu+ext:///system?command=/bin/sh") + struct.pack(">I", 0)),
        frame(1, struct.pack(">I", 1) + opaque(b"qemu:///embed?root=/tmp") + struct.pack(">I", 0)),
        prepare({**HONEST, "destination_name": "fabric-other"}),
        prepare({**HONEST, "migrate_uri": "tcp://0.0.0.0:49152"}),
        prepare({**HONEST, "disks_uri": "unix:///run/other"}),
        prepare({**HONEST, "listen_address": "0.0.0.0"}),
        prepare({**HONEST, "destination_xml": "<domain>evil</domain>"}),
        prepare({**HONEST, "persistent_xml": "<domain>evil</domain>"}),
        prepare(cookie=b"<qemu-migration><domain>evil</domain></qemu-migration>"),
        prepare(cookie=b"<qemu-migration>"),
        prepare(flags=FLAGS | 4),  # TUNNELLED
        prepare(flags=FLAGS | 1024),  # OFFLINE
        prepare(proc=306, values={**HONEST, "destination_name": "fabric-other"}),
        frame(303, struct.pack(">I", 1000)),
        frame(303, struct.pack(">I", 1) + opaque(b"x") + struct.pack(">I", 99)),
        frame(303, struct.pack(">I", 1) + struct.pack(">I", 1 << 30)),
        frame(303),
        frame(303, struct.pack(">I", 1) + opaque(b"\xff\xfe") + struct.pack(">I", 7)),
        struct.pack(">7I", 27, REMOTE, 1, 66, 0, 0, 0),
        struct.pack(">7I", MESSAGE_BYTES_MAX + 1, REMOTE, 1, 66, 0, 0, 0),
    ],
)
def test_everything_else_is_refused(gate: RpcGate, message: bytes) -> None:
    gate.feed(b"".join(CONVERSATION[:4]))
    with pytest.raises(DriverError):
        gate.feed(message)

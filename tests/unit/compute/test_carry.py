"""A server's disks go from host to host: to the right one, whole, with their holes, or not at all."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from drivers.contract import DomainSpec, RootDisk
from drivers.sim import SimDriver
from fabric.compute import carry
from fabric.compute.carry import DiskCarrier, DiskNotBroughtError
from fabric.compute.disk_service import (
    BASE,
    CHUNK_BYTES,
    DISK_BASE,
    DISK_LIST,
    DISK_READ,
    OFFSET,
    DiskService,
)
from fabric.compute.errors import ImageError
from fabric.compute.image_cache import ImageCache
from fabric.compute.notes import BootFiles, Notes
from fabric.core.moves.model import MoveKind, MoveOfServer
from fabric.core.servers.model import AssignedServer
from fabric.errors import RemoteError
from proto.codec import Plain
from proto.ids import NodeId, ServerId
from tests.fixtures.compute_doubles import RpcDouble
from tests.fixtures.compute_rows import HOST, assigned, image, placed, uuid_of

SERVER = ServerId(uuid_of("guest"))
SOURCE = NodeId("5" * 32)
BASE_BYTES = b"the image"
BASE_NAME = hashlib.sha256(BASE_BYTES).hexdigest()


class Hosts:
    """The host that a guest left, and the one (HOST) that it goes to."""

    def __init__(self, directory: Path) -> None:
        self.rpc = RpcDouble()
        self.old, self.new = directory / "old", directory / "new"
        for each in (self.old, self.new):
            (each / "images").mkdir(parents=True)
        self.driver = SimDriver(self.old / "sim")
        self.notes = Notes(self.old / "notes")
        self.live: dict[ServerId, NodeId] = {}
        self.assignments = SimpleNamespace(parked={SERVER: HOST}, goes_live_to=self.live.get)
        DiskService(self.rpc, self.assignments, self.driver, self.notes)  # type: ignore[arg-type]
        self.there = SimDriver(self.new / "sim")
        self.images = ImageCache(self.new / "images", self._no_fetch)
        self.carrier = DiskCarrier(self.rpc, self.there, self.images)
        self.row: AssignedServer = replace(
            assigned(placed("guest")),
            image=None,
            move=MoveOfServer(move_id="m", kind=MoveKind.MIGRATION, source_host_id=SOURCE, dest_host_id=HOST),
        )

    async def _no_fetch(self, source: Any) -> str:
        raise AssertionError("its image is gone")

    async def begin(self) -> None:
        """The guest has run on the old host, wrote something, and is off."""
        await self.driver.open()
        await self.there.open()
        base = self.old / "images" / BASE_NAME
        base.write_bytes(BASE_BYTES)
        await self.notes.write_boot(SERVER, BootFiles(base_path=str(base), base_format="raw"))
        await self.driver.ensure_running(self.spec(base))
        disk = self.disk(self.old)
        disk.write_text(json.dumps({**json.loads(disk.read_text()), "user": "wrote"}))
        await self.driver.ensure_stopped(SERVER, grace_ms=0)

    def spec(self, base: Path) -> DomainSpec:
        root = RootDisk(base_path=str(base), base_format="raw", size_gb=1)
        return DomainSpec(
            server_id=SERVER, name="web", project_id="p", vcpus=1, memory_mb=64, root=root, nics=()
        )

    def disk(self, host: Path) -> Path:
        return host / "sim" / SERVER / "root.disk"

    def sends(self, *chunks: bytes) -> None:
        """What a host that was stolen sends."""

        async def read(sender: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
            for chunk in chunks:
                yield chunk

        self.rpc.streams[DISK_READ] = read

    def lists(self, answer: Plain, method: str = DISK_LIST) -> None:
        async def listed(sender: NodeId, body: Mapping[str, Plain]) -> Plain:
            return answer

        self.rpc.handlers[method] = listed


@pytest.fixture
async def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    monkeypatch.setattr(carry, "ASK_AGAIN_S", (0.0, 0.0))
    made = Hosts(tmp_path)
    await made.begin()
    return made


async def test_what_the_guest_wrote_comes_along_and_its_base_is_this_hosts(hosts: Hosts) -> None:
    base = hosts.new / "images" / "base"
    base.write_bytes(BASE_BYTES)
    await hosts.carrier.bring(hosts.row, hosts.spec(base))
    disk = json.loads(hosts.disk(hosts.new).read_text())
    assert (disk["user"], disk["backing"]) == ("wrote", str(base))
    state = await hosts.there.ensure_running(replace(hosts.spec(base), has_booted=True))
    assert state.pid is not None
    asked = len(hosts.rpc.calls)
    await hosts.carrier.bring(hosts.row, hosts.spec(base))  # again, after a restart: nothing is read twice
    assert [method for _, method in hosts.rpc.calls[asked:]] == [DISK_LIST]


async def test_a_base_that_no_image_names_any_more_comes_along(hosts: Hosts) -> None:
    boot = await hosts.carrier.base(hosts.row)
    assert boot is not None
    assert Path(boot.base_path).read_bytes() == BASE_BYTES
    assert (Path(boot.base_path).parent, boot.base_format) == (hosts.new / "images", "raw")


async def test_only_a_base_that_is_not_its_image_comes_along(hosts: Hosts) -> None:
    """One that was shelved is built on what it was shelved to, and not on its image."""
    same = replace(hosts.row, image=replace(image(), sha256=BASE_NAME))
    assert await hosts.carrier.base(same) is None
    boot = await hosts.carrier.base(replace(hosts.row, image=image()))
    assert boot is not None
    assert Path(boot.base_path).read_bytes() == BASE_BYTES
    noted = replace(boot, base_path=str(hosts.old / "images" / BASE_NAME), kernel_path="kernel")
    await hosts.notes.write_boot(SERVER, noted)
    assert await hosts.carrier.base(replace(hosts.row, image=image())) is not None
    with pytest.raises(ImageError, match="does not exist any more"):  # nor does its kernel come along
        await hosts.carrier.base(hosts.row)


async def test_a_base_of_other_bytes_is_not_taken(hosts: Hosts) -> None:
    hosts.sends(OFFSET.pack(0) + b"another", OFFSET.pack(7))
    with pytest.raises(ImageError, match="other bytes"):
        await hosts.carrier.base(hosts.row)
    assert list((hosts.new / "images").iterdir()) == []


@pytest.mark.parametrize("parked", [{}, {SERVER: NodeId("6" * 32)}], ids=["stays", "goes elsewhere"])
async def test_nobody_else_reads_a_disk(hosts: Hosts, parked: dict[ServerId, NodeId]) -> None:
    hosts.assignments.parked = parked
    with pytest.raises(RemoteError) as refused:
        await hosts.carrier.bring(hosts.row, hosts.spec(hosts.new))
    assert refused.value.remote_code == "fabric.disk.forbidden"
    chunks = hosts.rpc.stream(SOURCE, DISK_READ, {"server_id": SERVER, "name": BASE}, timeout_ms=1)
    with pytest.raises(RemoteError):
        await anext(chunks)
    assert not hosts.disk(hosts.new).exists()


async def test_a_host_that_has_not_heard_yet_is_asked_again(hosts: Hosts) -> None:
    heard, hosts.assignments.parked = hosts.assignments.parked, {}
    refused = hosts.rpc.handlers[DISK_LIST]

    async def later(sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        try:
            return await refused(sender, body)
        finally:
            hosts.assignments.parked = heard

    hosts.rpc.handlers[DISK_LIST] = later
    await hosts.carrier.bring(hosts.row, hosts.spec(hosts.old / "images" / BASE_NAME))
    assert hosts.disk(hosts.new).exists()


async def test_disks_of_a_guest_that_runs_are_not_read(hosts: Hosts) -> None:
    await hosts.driver.ensure_running(hosts.spec(hosts.old / "images" / BASE_NAME))
    with pytest.raises(RemoteError, match="not off"):
        await hosts.carrier.bring(hosts.row, hosts.spec(hosts.new))


@pytest.mark.parametrize(
    ("chunks", "why"),
    [
        ((OFFSET.pack(0) + b"x",), "ended too soon"),
        ((OFFSET.pack(1 << 40) + b"x",), "more than"),
        ((b"short",), "without an offset"),
    ],
)
async def test_a_disk_that_is_not_whole_is_not_kept(
    hosts: Hosts, chunks: tuple[bytes, ...], why: str
) -> None:
    hosts.sends(*chunks)
    with pytest.raises(DiskNotBroughtError, match=why):
        await hosts.carrier.bring(hosts.row, hosts.spec(hosts.new))
    assert list((hosts.new / "sim" / SERVER).iterdir()) == []


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"disks": []},
        {"disks": [{"name": "root", "size_bytes": -1}]},
        {"disks": [{"name": "root", "size_bytes": True}]},
        {"disks": 7},
    ],
)
async def test_a_list_that_cannot_be_read_is_refused(hosts: Hosts, answer: Plain) -> None:
    hosts.lists(answer)
    with pytest.raises(DiskNotBroughtError):
        await hosts.carrier.bring(hosts.row, hosts.spec(hosts.new))


@pytest.mark.parametrize("answer", [{}, {"base_sha256": 1, "base_format": "raw", "has_kernel": False}, 7])
async def test_a_base_that_cannot_be_read_is_refused(hosts: Hosts, answer: Plain) -> None:
    hosts.lists(answer, DISK_BASE)
    with pytest.raises(DiskNotBroughtError):
        await hosts.carrier.base(hosts.row)


async def test_of_one_that_goes_while_it_runs_only_the_base_is_told_and_read(hosts: Hosts) -> None:
    """Its own disks go another way, which takes both ends' bases to be the same."""
    hosts.assignments.parked = {}
    hosts.live[SERVER] = HOST
    await hosts.driver.ensure_running(hosts.spec(hosts.old / "images" / BASE_NAME))
    boot = await hosts.carrier.base(replace(hosts.row, image=image()))
    assert boot is not None
    assert Path(boot.base_path).read_bytes() == BASE_BYTES
    with pytest.raises(RemoteError) as refused:
        await hosts.carrier.bring(hosts.row, hosts.spec(hosts.new))
    assert refused.value.remote_code == "fabric.disk.forbidden"
    hosts.live[SERVER] = SOURCE
    with pytest.raises(RemoteError):
        await hosts.carrier.base(hosts.row)


async def test_holes_are_not_sent_and_stay_holes(hosts: Hosts, tmp_path: Path) -> None:
    disk = hosts.disk(hosts.old)
    size = 8 * CHUNK_BYTES
    with disk.open("wb") as file:
        file.truncate(size)
        file.seek(3 * CHUNK_BYTES)
        file.write(os.urandom(CHUNK_BYTES + 5))
    chunks = [
        chunk
        async for chunk in hosts.rpc.stream(
            SOURCE, DISK_READ, {"server_id": SERVER, "name": "root"}, timeout_ms=1
        )
    ]
    sent = sum(len(chunk) - OFFSET.size for chunk in chunks)
    assert CHUNK_BYTES + 5 <= sent < size
    assert chunks[-1] == OFFSET.pack(size)
    copy = tmp_path / "copy"
    copy.touch()
    await hosts.carrier._read(SOURCE, hosts.row, "root", size, copy)
    assert copy.read_bytes() == disk.read_bytes()
    assert copy.stat().st_blocks * 512 < size

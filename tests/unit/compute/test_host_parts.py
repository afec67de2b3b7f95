"""Smaller parts of the host side: image cache, notes, files, registration, reports, cancellation."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from fabric.compute.capacity import Allocation, HostIdentity, Registrar, host_register, live_capacity
from fabric.compute.durable_file import read_json, save_json, write_json
from fabric.compute.errors import ImageError
from fabric.compute.image_cache import UNUSED_AGE_S, UNUSED_KEPT, ImageCache
from fabric.compute.notes import BootFiles, Note, Notes
from fabric.compute.observe import Reporter, report_request_id
from fabric.compute.unbroken import unbroken
from fabric.core.servers.model import ImageSource
from fabric.errors import ConfigError, NoQuorumError
from proto.commands.nodes import HostRegister
from proto.commands.servers import ServerRemoved
from proto.ids import ServerId
from tests.fixtures.compute_doubles import DriverDouble, Machine, StateDouble
from tests.fixtures.compute_rows import HOST, assigned, image, placed, uuid_of

WHO = HostIdentity(node_id=HOST, name="h1", address="127.0.0.1", zone="nova", version="0.1")
OFFERS = DriverDouble(Machine()).offers


def cache(tmp_path: Path) -> tuple[ImageCache, list[str]]:
    fetched: list[str] = []

    async def fetch(source: ImageSource) -> str:
        fetched.append(source.sha256)
        path = tmp_path / "blobs" / source.sha256
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"bytes")
        return str(path)

    return ImageCache(tmp_path / "images", fetch, retry_s=0.001), fetched


async def test_a_cached_image_outlives_its_blob(tmp_path: Path) -> None:
    images, fetched = cache(tmp_path)
    path = await images.ensure(image())
    (tmp_path / "blobs" / image().sha256).unlink()
    assert await images.ensure(image()) == path == images.path_of(image())
    assert Path(path).read_bytes() == b"bytes"
    assert len(fetched) == 1


async def test_across_file_systems_it_is_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = cache(tmp_path)

    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    path = Path(await images.ensure(image()))
    assert path.read_bytes() == b"bytes"
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


async def test_a_full_disk_is_an_image_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images, _ = cache(tmp_path)

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    with pytest.raises(ImageError, match="No space left"):
        await images.ensure(image())


async def test_callers_at_once_end_with_one_file(tmp_path: Path) -> None:
    images, _ = cache(tmp_path)
    paths = await asyncio.gather(*(images.ensure(image()) for _ in range(5)))
    assert len(set(paths)) == 1


async def test_content_addresses_are_checked(tmp_path: Path) -> None:
    images, fetched = cache(tmp_path)
    with pytest.raises(ImageError):
        await images.ensure(image(sha256="../../etc/passwd"))
    assert fetched == []


async def test_prune_keeps_used_recent_and_a_few(tmp_path: Path) -> None:
    images, _ = cache(tmp_path)
    sources = [image(sha256=f"{number:064x}") for number in range(UNUSED_KEPT + 4)]
    paths = [await images.ensure(source) for source in sources]
    for age, path in enumerate(paths):
        old = Path(path).stat().st_mtime - UNUSED_AGE_S - 1000 + age
        os.utime(path, (old, old))
    await images.ensure(sources[1])  # used just now
    dropped = await images.prune(frozenset({paths[0]}))
    assert dropped == 2
    kept = {str(path) for path in (tmp_path / "images").iterdir()}
    assert kept == set(paths) - {paths[2], paths[3]}
    assert await ImageCache(tmp_path / "absent", images._fetch).prune(frozenset()) == 0


async def test_the_cache_knows_what_it_holds_and_what_was_used_last(tmp_path: Path) -> None:
    images, _ = cache(tmp_path)
    await images.look()
    assert images.held(9) == []
    one, two, three = (f"{number:064x}" for number in (1, 2, 3))
    for name in (one, two, three, one):
        await images.ensure(image(sha256=name))
    assert images.held(2) == [three, one]
    for age, name in enumerate((three, one, two)):
        os.utime(tmp_path / "images" / name, (1_000 + age, 1_000 + age))
    (tmp_path / "images" / f".{one}.half").touch()
    later, _ = cache(tmp_path)
    await later.look()
    assert later.held(9) == [three, one, two]
    await later.ensure(image(sha256=three))
    assert later.held(9) == [one, two, three]


async def test_what_is_pruned_is_held_no_more(tmp_path: Path) -> None:
    images, _ = cache(tmp_path)
    for number in range(UNUSED_KEPT + 1):
        await images.ensure(image(sha256=f"{number:064x}"))
        os.utime(tmp_path / "images" / f"{number:064x}", (number, number))
    assert await images.prune(frozenset()) == 1
    assert images.held(99) == [f"{number:064x}" for number in range(1, UNUSED_KEPT + 1)]


async def test_notes_are_kept_changed_and_forgotten(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "servers")
    server_id = ServerId(uuid_of("a"))
    assert await notes.read(server_id) == Note()
    boot = BootFiles(base_path="/x", base_format="qcow2", kernel_path="/k")
    await notes.write_boot(server_id, boot)
    await notes.write_reboot(server_id, 7)
    assert await Notes(tmp_path / "servers").read(server_id) == Note(boot=boot, reboot_generation=7)
    assert await notes.all() == {server_id: Note(boot=boot, reboot_generation=7)}
    await notes.forget(server_id)
    await notes.forget(server_id)
    assert await notes.all() == {}


@pytest.mark.parametrize("content", ["{", "[]", '{"reboot_generation": "x"}'])
async def test_a_damaged_note_is_an_empty_one(tmp_path: Path, content: str) -> None:
    (tmp_path / f"{uuid_of('a')}.json").write_text(content)
    assert await Notes(tmp_path).read(ServerId(uuid_of("a"))) == Note()


def test_json_files_are_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    write_json(path, {"b": 2})
    assert read_json(path) == {"b": 2}
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["file.json"]
    path.write_bytes(b"[" * (1 << 21))
    with pytest.raises(ValueError, match="damaged"):
        read_json(path)


async def test_a_cancelled_save_never_lands_after_a_newer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen as "assignments not remembered": the old writer's thread took the new one's file away."""
    path = tmp_path / "file.json"
    started, go = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        started.set()
        go.wait(5)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", slow)
    first = asyncio.create_task(save_json(path, {"n": 1}))
    await asyncio.to_thread(started.wait, 5)
    first.cancel()
    await asyncio.sleep(0)
    assert not first.done()
    go.set()
    await asyncio.gather(first, return_exceptions=True)
    await save_json(path, {"n": 2})
    assert read_json(path) == {"n": 2}


def test_registration_says_what_driver_and_operator_say() -> None:
    command = host_register(WHO, OFFERS, Allocation(cpu_ratio_milli=2_000, reserved_memory_mb=512))
    assert (command.host_id, command.name, command.vcpus, command.memory_mb) == (HOST, "h1", 8, 8192)
    assert (command.cpu_ratio_milli, command.reserved_memory_mb) == (2_000, 512)
    with pytest.raises(ConfigError):
        Allocation(cpu_ratio_milli=0)
    with pytest.raises(ConfigError):
        Allocation(reserved_memory_mb=-1)


def test_live_capacity_sums_claims() -> None:
    capacity = live_capacity(OFFERS, [assigned(placed("a")), assigned(placed("b"))])
    assert (capacity.vcpus, capacity.vcpus_used, capacity.memory_mb_used) == (8, 2, 1024)
    assert (capacity.disk_gb_used, capacity.servers, capacity.hypervisor) == (2, 2, "sim")


async def test_registers_until_accepted_and_again_when_it_changes() -> None:
    state = StateDouble(is_away=True)
    memory_mb = 100

    def command() -> HostRegister:
        return HostRegister(
            host_id=HOST, name="h1", address="a", zone="z", hypervisor_type="sim", hypervisor_version=1,
            arch="x", vcpus=1, memory_mb=memory_mb, disk_gb=1,
        )  # fmt: skip

    registrar = Registrar(state, command, check_s=0.005, retry_s=0.002)
    task = asyncio.create_task(registrar.run())
    await asyncio.sleep(0.01)
    assert not registrar.registered.is_set()
    state.is_away = False
    await asyncio.wait_for(registrar.registered.wait(), 5)
    memory_mb = 200
    await state.until(lambda: len(state.commands) == 2)
    memory_mb = 100  # back to the first value: a third registration, not a replay of the first
    await state.until(lambda: len(state.commands) == 3)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [c.memory_mb for c in state.commands if isinstance(c, HostRegister)] == [100, 200, 100]


async def test_a_report_is_repeated_under_one_id() -> None:
    state = StateDouble()
    row = placed()
    state.put(assigned(row))
    ids = []
    propose = state.propose
    failures = [NoQuorumError("gone"), NoQuorumError("gone")]

    async def flaky(command, *, request_id):  # type: ignore[no-untyped-def]
        ids.append(request_id)
        if failures:
            raise failures.pop()
        return await propose(command, request_id=request_id)

    state.propose = flaky  # type: ignore[method-assign]
    assert await Reporter(state, HOST).done(row, None) in (True, False)
    assert len(ids) == 3
    assert len(set(ids)) == 1


def test_different_reports_have_different_ids() -> None:
    row = placed()
    one = ServerRemoved(server_id=row.server_id, host_id=HOST)
    two = ServerRemoved(server_id=ServerId(uuid_of("b")), host_id=HOST)
    ids = {report_request_id(row, one, "removed/2"), report_request_id(row, two, "removed/2")}
    ids.add(report_request_id(row, one, "removed/3"))
    assert len(ids) == 3
    assert report_request_id(row, one, "removed/2") in ids


async def test_unbroken_lets_the_work_end_before_the_cancellation() -> None:
    done = asyncio.Event()
    go = asyncio.Event()

    async def work() -> None:
        await go.wait()
        done.set()

    caller = asyncio.create_task(unbroken(work(), grace_s=5))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert done.is_set()


async def test_unbroken_has_an_end() -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(unbroken(work(), grace_s=0.001))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await asyncio.wait_for(ended.wait(), 5)

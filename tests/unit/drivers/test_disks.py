from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from drivers.contract import DomainSpec, RootDisk
from drivers.libvirt import disks
from drivers.libvirt.disks import ServerDirectory, ensure_files
from proto.errors import DriverError
from proto.ids import ServerId, new_uuid

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")


def a_spec(base: Path, *, base_format: str = "raw", size_gb: int = 0) -> DomainSpec:
    return DomainSpec(
        server_id=ServerId(new_uuid()),
        name="web",
        project_id="p",
        vcpus=1,
        memory_mb=64,
        root=RootDisk(base_path=str(base), base_format=base_format, size_gb=size_gb),
        nics=(),
        config_drive=b"iso",
    )


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.raw"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    return path


def place(tmp_path: Path, spec: DomainSpec) -> ServerDirectory:
    return ServerDirectory(tmp_path / "servers", spec.server_id)


def create(*argv: str) -> None:
    subprocess.run(["qemu-img", "create", "-q", *argv], check=True, timeout=30)


async def test_files_are_made_once(tmp_path: Path, base: Path) -> None:
    spec = a_spec(base)
    where = place(tmp_path, spec)
    await ensure_files(where, spec)
    before = {path.name: path.stat().st_mtime_ns for path in where.path.iterdir()}
    assert sorted(before) == ["config.iso", "root.qcow2"]
    await ensure_files(where, dataclasses.replace(spec, config_drive=b"another"))
    assert {path.name: path.stat().st_mtime_ns for path in where.path.iterdir()} == before
    assert where.config_drive.read_bytes() == b"iso"
    assert where.config_drive.stat().st_mode & 0o777 == 0o600  # it holds keys and passwords


async def test_what_a_killed_driver_left_is_removed(tmp_path: Path, base: Path) -> None:
    spec = a_spec(base)
    where = place(tmp_path, spec)
    where.path.mkdir(parents=True)
    (where.path / "root.qcow2.part-0123456789ab").write_bytes(b"half an overlay")
    await ensure_files(where, spec)
    assert sorted(path.name for path in where.path.iterdir()) == ["config.iso", "root.qcow2"]


async def test_a_base_that_shows_another_file_is_refused(tmp_path: Path) -> None:
    """A qcow2 image may name any file of the host as its backing: the guest would read it."""
    secret = tmp_path / "secret.raw"
    secret.write_bytes(b"s" * 4096)
    evil = tmp_path / "evil.qcow2"
    create("-f", "qcow2", "-F", "raw", "-b", str(secret), str(evil))
    spec = a_spec(evil, base_format="qcow2")
    with pytest.raises(DriverError, match="refers to another file"):
        await ensure_files(place(tmp_path, spec), spec)
    assert not place(tmp_path, spec).root.exists()


async def test_a_base_with_a_data_file_is_refused(tmp_path: Path) -> None:
    evil = tmp_path / "evil.qcow2"
    create("-f", "qcow2", "-o", f"data_file={tmp_path}/data.raw", str(evil), "1M")
    spec = a_spec(evil, base_format="qcow2")
    with pytest.raises(DriverError, match="refers to another file"):
        await ensure_files(place(tmp_path, spec), spec)


async def test_an_overlay_smaller_than_its_base_is_refused(tmp_path: Path) -> None:
    big = tmp_path / "big.qcow2"
    create("-f", "qcow2", str(big), "3G")
    spec = a_spec(big, base_format="qcow2", size_gb=2)
    with pytest.raises(DriverError, match="2 GiB are less"):
        await ensure_files(place(tmp_path, spec), spec)
    assert not place(tmp_path, spec).root.exists()


@pytest.mark.parametrize("base_format", ["vmdk", "", "raw,file.filename=/etc/shadow"])
async def test_an_unknown_format_is_refused(tmp_path: Path, base: Path, base_format: str) -> None:
    spec = a_spec(base, base_format=base_format)
    with pytest.raises(DriverError, match="is not one of"):
        await ensure_files(place(tmp_path, spec), spec)


async def test_garbage_is_no_qcow2(tmp_path: Path, base: Path) -> None:
    spec = a_spec(base, base_format="qcow2")
    with pytest.raises(DriverError, match="qemu-img"):
        await ensure_files(place(tmp_path, spec), spec)


async def test_a_tool_that_hangs_is_killed() -> None:
    with pytest.raises(DriverError, match="no end within"):
        await disks.run_tool(["sleep", "100"], timeout_s=0.05)


async def test_a_tool_that_is_missing_or_fails_says_so() -> None:
    with pytest.raises(DriverError, match="no-such-tool"):
        await disks.run_tool(["no-such-tool"])
    with pytest.raises(DriverError, match="exit 3: sorry"):
        await disks.run_tool(["sh", "-c", "echo sorry >&2; exit 3"])


async def test_a_full_directory_is_a_driver_error(tmp_path: Path, base: Path) -> None:
    (tmp_path / "servers").write_bytes(b"a file where the directory should be")
    spec = a_spec(base)
    with pytest.raises(DriverError, match="cannot make"):
        await ensure_files(place(tmp_path, spec), spec)


def test_remove_is_repeatable_and_complete(tmp_path: Path) -> None:
    where = ServerDirectory(tmp_path, ServerId(new_uuid()))
    disks.remove(where)
    (where.path / "deep").mkdir(parents=True)
    (where.path / "deep" / "file").write_bytes(b"x")
    disks.remove(where)
    assert list(tmp_path.iterdir()) == []


def test_only_server_ids_count_as_servers(tmp_path: Path) -> None:
    server_id = ServerId(new_uuid())
    for name in (server_id, "lost+found", ".cache"):
        (tmp_path / name).mkdir()
    assert disks.server_directories(tmp_path) == (server_id,)
    assert disks.server_directories(tmp_path / "none") == ()


def test_direct_io_is_tried(tmp_path: Path) -> None:
    shm = Path("/dev/shm")
    assert disks.supports_direct_io(tmp_path) in (True, False)
    assert list(tmp_path.iterdir()) == []
    if os.access(shm, os.W_OK):
        assert isinstance(disks.supports_direct_io(shm), bool)

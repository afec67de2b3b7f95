"""Disks that go from host to host: what there is of a guest that is off, and one that comes in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

from drivers.contract import DiskFile, DomainSpec, FillFile
from drivers.libvirt.disks import ServerDirectory, make_directory, publish, run_tool, temporary
from proto.errors import DriverError


def disk_files(where: ServerDirectory) -> tuple[DiskFile, ...]:
    """Raises DriverError when there is no root disk. Blocks."""
    try:
        found = tuple(
            DiskFile(name=name, path=str(path), size_bytes=path.stat().st_size)
            for name, path in _paths(where).items()
            if path.exists()
        )
    except OSError as error:
        raise DriverError(f"cannot look at {where.path}: {error.strerror}") from error
    if not any(disk.name == "root" for disk in found):
        raise DriverError(f"server {where.server_id} has no disk here")
    return found


async def take_disk(where: ServerDirectory, spec: DomainSpec, name: str, fill: FillFile) -> None:
    """Raises DriverError, and what `fill` raises."""
    target = _paths(where).get(name)
    if target is None:
        raise DriverError(f"no guest has a disk {name[:20]!r}")
    await asyncio.to_thread(make_directory, where)
    if target.exists():
        return
    fresh = temporary(target)
    try:
        await asyncio.to_thread(_make_empty, fresh)
        await fill(fresh)
        if name == "root":
            await _rebase(fresh, spec)
        await asyncio.to_thread(publish, fresh, target)
    finally:
        fresh.unlink(missing_ok=True)


async def _rebase(disk: Path, spec: DomainSpec) -> None:
    """On this host the base has another path. Its bytes are the same, so nothing but the name is changed.
    The file comes from another machine: one whose data would be elsewhere shows the guest a file of ours."""
    base = spec.root
    described = await run_tool(["qemu-img", "info", "-U", "--output=json", "-f", "qcow2", str(disk)])
    if b'"data-file"' in described:
        raise DriverError("the disk that came in has its data in another file")
    if not os.path.isfile(base.base_path):
        raise DriverError(f"root disk: no base image {base.base_path}")
    await run_tool(
        ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", base.base_format, "-b", base.base_path, str(disk)]
    )


def _make_empty(path: Path) -> None:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise DriverError(f"cannot write {path}: {error.strerror}") from error


def _paths(where: ServerDirectory) -> Mapping[str, Path]:
    return {"root": where.root, "ephemeral0": where.ephemeral, "swap": where.swap}

"""A server's files: one directory each, made so that a kill -9 at any moment leaves nothing half-written.

Every file is written under a temporary name and renamed when whole; what exists is never written again.
qemu-img runs as a process of its own, with fixed arguments and a deadline.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from drivers.contract import DomainSpec, RootDisk
from drivers.libvirt.domain_xml import DomainFiles
from proto.errors import DriverError
from proto.ids import ServerId, is_uuid

TOOL_TIMEOUT_S = 60.0
REMOVE_TRIES_MAX = 5  # an orphan of a killed driver may add a file while we remove
GIB = 1 << 30
MIB = 1 << 20
_TEMPORARY = ".part-"
_FORMATS = ("qcow2", "raw")


@dataclass(frozen=True, slots=True)
class ServerDirectory:
    """Where one server's files are. `owner` is the driver's directory."""

    owner: Path
    server_id: ServerId

    @property
    def path(self) -> Path:
        return self.owner / self.server_id

    @property
    def root(self) -> Path:
        return self.path / "root.qcow2"

    @property
    def ephemeral(self) -> Path:
        return self.path / "ephemeral0.raw"

    @property
    def swap(self) -> Path:
        return self.path / "swap.raw"

    @property
    def config_drive(self) -> Path:
        return self.path / "config.iso"

    @property
    def console_log(self) -> Path:
        return self.path / "console.log"

    @property
    def leaving(self) -> Path:
        """While it is there and its domain is not, the guest has gone to another host."""
        return self.path / "leaving"

    @property
    def arriving(self) -> Path:
        """While it is there and its domain does not last, the guest has not come from the other host."""
        return self.path / "arriving"

    def files(self, spec: DomainSpec) -> DomainFiles:
        return DomainFiles(
            owner=str(self.owner),
            root=str(self.root),
            console_log=str(self.console_log),
            ephemeral=str(self.ephemeral) if spec.ephemeral_gb > 0 else None,
            swap=str(self.swap) if spec.swap_mb > 0 else None,
            config_drive=str(self.config_drive) if spec.config_drive is not None else None,
        )


def write_mark(target: Path, data: bytes) -> None:
    """Durable when it returns, in place of what was there; makes the server's directory. Raises DriverError.
    Blocks: call it in a thread."""
    try:
        target.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        target.parent.chmod(0o711)
        fresh = temporary(target)
        fresh.write_bytes(data)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(fresh, target)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise DriverError(f"cannot write {target}: {error.strerror}") from error


def read_mark(target: Path) -> bytes | None:
    """None: there is no such mark. Raises DriverError. Blocks: call it in a thread."""
    try:
        return target.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DriverError(f"cannot read {target}: {error.strerror}") from error


async def ensure_files(where: ServerDirectory, spec: DomainSpec) -> None:
    """Makes what `spec` asks for and is missing. Raises DriverError, also for a lost disk of a guest that
    has booted before."""
    await asyncio.to_thread(check_disks, where, spec)
    await asyncio.to_thread(make_directory, where)
    if not where.root.exists():
        await _make_overlay(where, spec)
    if spec.ephemeral_gb > 0 and not where.ephemeral.exists():
        label = ("mkfs.ext4", "-q", "-F", "-L", "ephemeral0")
        await _make_raw(where.ephemeral, spec.ephemeral_gb * GIB, label)
    if spec.swap_mb > 0 and not where.swap.exists():
        await _make_raw(where.swap, spec.swap_mb * MIB, ("mkswap",))
    if spec.config_drive is not None and not where.config_drive.exists():
        await asyncio.to_thread(_write_whole, where.config_drive, spec.config_drive)


def check_disks(where: ServerDirectory, spec: DomainSpec) -> None:
    """Raises DriverError when a disk with the user's data is gone."""
    if not spec.has_booted:
        return
    for path in (where.root, *([where.ephemeral] if spec.ephemeral_gb > 0 else [])):
        if not path.exists():
            raise DriverError(f"the guest's disk {path.name} is gone; it is not replaced by an empty one")


def remove(where: ServerDirectory) -> None:
    """No file of it is left. Raises DriverError. Blocks: call it in a thread."""
    for tries_left in reversed(range(REMOVE_TRIES_MAX)):
        try:
            shutil.rmtree(where.path)
        except FileNotFoundError:
            if not where.path.exists():
                return
        except OSError as error:
            if tries_left == 0:
                raise DriverError(f"cannot remove {where.path}: {error.strerror}") from error
        else:
            return


def server_directories(owner: Path) -> tuple[ServerId, ...]:
    """The servers that have a directory, whether or not they have a domain."""
    try:
        names = os.listdir(owner)
    except FileNotFoundError:
        return ()
    return tuple(ServerId(name) for name in sorted(names) if is_uuid(name))


def supports_direct_io(directory: Path) -> bool:
    """Whether QEMU's cache mode "none" works there: tmpfs, for one, has no O_DIRECT."""
    probe = temporary(directory / "direct-io")
    try:
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_DIRECT, 0o600))
    except OSError:
        return False
    finally:
        probe.unlink(missing_ok=True)
    return True


async def run_tool(argv: Sequence[str], *, timeout_s: float = TOOL_TIMEOUT_S) -> bytes:
    """Runs a tool to its end and returns its stdout; kills it at the deadline and when we are cancelled.
    Raises DriverError with its last words."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
    except OSError as error:
        raise DriverError(f"{argv[0]}: {error.strerror}") from error
    try:
        async with asyncio.timeout(timeout_s):
            output, said = await process.communicate()
    except TimeoutError as error:
        raise DriverError(f"{argv[0]}: no end within {timeout_s:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        last_words = said.decode(errors="replace").strip()[-500:]
        raise DriverError(f"{argv[0]}: exit {process.returncode}: {last_words}")
    return output


async def _make_overlay(where: ServerDirectory, spec: DomainSpec) -> None:
    base = spec.root
    if base.base_format not in _FORMATS:
        raise DriverError(f"root disk format {base.base_format[:20]!r} is not one of {', '.join(_FORMATS)}")
    if not os.path.isabs(base.base_path) or not os.path.isfile(base.base_path):
        raise DriverError(f"root disk: no base image {base.base_path}")
    await _check_base(base)
    fresh = temporary(where.root)
    argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", base.base_format, "-b", base.base_path]
    size = [str(base.size_gb * GIB)] if base.size_gb > 0 else []
    try:
        await run_tool([*argv, str(fresh), *size])
        await asyncio.to_thread(publish, fresh, where.root)
    finally:
        fresh.unlink(missing_ok=True)


async def _check_base(base: RootDisk) -> None:
    """A base that is itself an overlay would show the guest another file of this host; an overlay smaller
    than its base would cut the guest's file system off."""
    described = await run_tool(
        ["qemu-img", "info", "-U", "--output=json", "-f", base.base_format, base.base_path]
    )
    try:
        info = json.loads(described)
        virtual_bytes = int(info["virtual-size"])
        foreign = info.get("backing-filename") or info.get("format-specific", {}).get("data", {}).get(
            "data-file"
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DriverError(
            f"root disk: qemu-img describes {base.base_path} in a way we do not know"
        ) from error
    if foreign:
        raise DriverError(f"root disk: base image {base.base_path} refers to another file")
    if 0 < base.size_gb * GIB < virtual_bytes:
        raise DriverError(
            f"root disk: {base.size_gb} GiB are less than the {virtual_bytes} bytes of {base.base_path}"
        )


async def _make_raw(target: Path, size_bytes: int, formatter: tuple[str, ...]) -> None:
    fresh = temporary(target)
    try:
        with fresh.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.truncate(size_bytes)
        await run_tool([*formatter, str(fresh)])
        await asyncio.to_thread(publish, fresh, target)
    except OSError as error:
        raise DriverError(f"cannot write {target}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def make_directory(where: ServerDirectory) -> None:
    """With what earlier lives left half-written removed."""
    try:
        where.path.mkdir(mode=0o711, parents=True, exist_ok=True)
        where.path.chmod(0o711)  # whatever our umask: QEMU may run as another user
        for path in where.path.iterdir():
            if _TEMPORARY in path.name:
                path.unlink(missing_ok=True)
    except OSError as error:
        raise DriverError(f"cannot make {where.path}: {error.strerror}") from error


def _write_whole(target: Path, data: bytes) -> None:
    fresh = temporary(target)
    try:
        fresh.write_bytes(data)
        os.chmod(fresh, 0o600)
        publish(fresh, target)
    except OSError as error:
        raise DriverError(f"cannot write {target}: {error.strerror}") from error
    finally:
        fresh.unlink(missing_ok=True)


def publish(fresh: Path, target: Path) -> None:
    """Link, not rename: should the file be there by now, it is never replaced."""
    descriptor = os.open(fresh, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # a name must not outlive a power failure longer than what it names
    finally:
        os.close(descriptor)
    try:
        os.link(fresh, target)
    except FileExistsError:
        return
    except OSError as error:
        raise DriverError(f"cannot make {target}: {error.strerror}") from error


def temporary(target: Path) -> Path:
    return target.with_name(f"{target.name}{_TEMPORARY}{secrets.token_hex(6)}")

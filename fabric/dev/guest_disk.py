"""A bootable disk from a file tree: MBR, GRUB in the gap, one ext4 partition. No mount, loop device or
root right is used, and the same tree gives the same bytes.

Two traps: the floppy code of GRUB's boot.img lies over partition entries 2 to 4 and must be zeroed; and
e2fsprogs 1.47.0 knows no SOURCE_DATE_EPOCH, so debugfs puts the inodes' times right.
"""

from __future__ import annotations

import os
import struct
import tempfile
from pathlib import Path

from fabric.dev.guest_scripts import DISK_LABEL, GRUB_CONFIG
from fabric.dev.guest_tree import GuestImageError, run_tool

GRUB_BOOT = Path("/usr/lib/grub/i386-pc/boot.img")
DEFAULT_SIZE_MIB = 64
_SECTOR_BYTES = 512
_FIRST_SECTOR = 2048  # of the partition; GRUB's core lies before it
_PARTITION_TYPE_LINUX = 0x83
_FILE_SYSTEM_UUID = "6f0b1c5e-7d1a-4c0e-9a51-0a5b6f1c2d3e"
_FIRST_FREE_INODE = 11
_ROOT_INODE = 2


def write_disk(target: Path, tree: Path, *, size_mib: int = DEFAULT_SIZE_MIB) -> None:
    """Writes the qcow2 image `target` (not atomically). Raises GuestImageError."""
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        partition, raw = Path(scratch, "partition"), Path(scratch, "raw")
        _write_file_system(partition, tree, (size_mib << 20) - _FIRST_SECTOR * _SECTOR_BYTES)
        core = _grub_core(Path(scratch))
        with raw.open("wb") as disk:
            disk.write(_boot_sector(size_mib) + core)
            disk.seek(_FIRST_SECTOR * _SECTOR_BYTES)
            _copy_sparsely(partition, disk.fileno())
            disk.truncate(size_mib << 20)
        run_tool("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", str(raw), str(target))


def _write_file_system(partition: Path, tree: Path, size_bytes: int) -> None:
    for path in (tree, *tree.rglob("*")):
        os.utime(path, (1, 1), follow_symlinks=False)
    with partition.open("wb") as file:
        file.truncate(size_bytes)
    env = dict(os.environ, E2FSPROGS_FAKE_TIME="1")
    options = f"hash_seed={_FILE_SYSTEM_UUID},lazy_itable_init=0,root_owner=0:0"
    run_tool(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", DISK_LABEL, "-U", _FILE_SYSTEM_UUID, "-m", "0"),
        *("-O", "^has_journal", "-E", options, "-d", str(tree), str(partition)),
        env=env,
    )
    used = _FIRST_FREE_INODE + sum(1 for _ in tree.rglob("*"))
    script = "".join(
        f"set_inode_field <{inode}> {field}time{suffix} {value}\n"
        for inode in (_ROOT_INODE, *range(_FIRST_FREE_INODE, used + 1))
        for field in ("c", "a", "cr")
        for suffix, value in (("", "@1"), ("_extra", "0"))
    )
    run_tool("debugfs", "-w", "-f", "/dev/stdin", str(partition), stdin=script.encode(), env=env)


def _grub_core(scratch: Path) -> bytes:
    config, image = scratch / "grub.cfg", scratch / "core.img"
    config.write_text(GRUB_CONFIG)
    run_tool(
        *("grub-mkimage", "-O", "i386-pc", "-o", str(image), "-c", str(config), "-p", "/boot"),
        *("biosdisk", "part_msdos", "ext2", "linux"),
    )
    core = image.read_bytes()
    if len(core) > (_FIRST_SECTOR - 1) * _SECTOR_BYTES:
        raise GuestImageError(f"GRUB's core has {len(core)} bytes: too many for the gap before the partition")
    return core


def _boot_sector(size_mib: int) -> bytes:
    boot = bytearray(GRUB_BOOT.read_bytes()[:_SECTOR_BYTES])
    boot[440:444] = b"test"  # the disk's signature
    sectors = (size_mib << 20) // _SECTOR_BYTES - _FIRST_SECTOR
    beyond_chs = b"\xfe\xff\xff"
    boot[446:462] = struct.pack(
        "<B3sB3sII", 0x80, beyond_chs, _PARTITION_TYPE_LINUX, beyond_chs, _FIRST_SECTOR, sectors
    )
    boot[462:512] = b"\0" * 48 + b"\x55\xaa"  # over GRUB's floppy probe
    return bytes(boot)


def _copy_sparsely(source: Path, target: int) -> None:
    """From the target's present offset on; blocks of zeros become holes."""
    offset = _FIRST_SECTOR * _SECTOR_BYTES
    with source.open("rb") as file:
        while chunk := file.read(1 << 20):
            if chunk.count(0) != len(chunk):
                os.pwrite(target, chunk, offset)
            offset += len(chunk)

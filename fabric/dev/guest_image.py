"""Builds the small guest that development and tests boot, from files of installed Debian packages.

    python -m fabric.dev.guest_image OUTDIR

writes OUTDIR/vmlinuz, initrd.img (small: it only finds the root disk), cmdline, and guest.qcow2 (ext4 root,
label "guestroot", also bootable by BIOS through GRUB). Booting the kernel directly with the disk as root
saves the four seconds GRUB takes to read it under emulation. 2.5 s; nothing is done when the inputs are
those of the last build. Log-in: root / guest.

In the guest: DHCP on every NIC (hot-plugged ones too), OpenStack metadata from a config drive or
169.254.169.254 (host name, ssh keys, admin_pass, user data that is a script), dropbear, qemu-guest-agent,
httpd on port 80, shells on ttyS0 and tty1, ACPI power button.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fabric.dev import guest_disk, guest_scripts, guest_tree
from fabric.dev.guest_tree import GuestImageError

__all__ = ["GuestImage", "GuestImageError", "build_guest_image", "missing_requirements"]

PACKAGES = (
    "linux-image-cloud-amd64 busybox-static dropbear-bin qemu-guest-agent grub-pc-bin grub-common "
    "e2fsprogs qemu-utils lz4"
)
STAMP_FILE = "inputs.sha256"
LOCK_FILE = ".lock"
_TOOLS = ("ldd", "mke2fs", "debugfs", "grub-mkimage", "qemu-img")
_SOURCES = (guest_scripts, guest_tree, guest_disk)


@dataclass(frozen=True, slots=True)
class GuestImage:
    """A built image: what to hand to QEMU, libvirt or the Image API."""

    directory: Path

    @property
    def kernel(self) -> Path:
        return self.directory / "vmlinuz"

    @property
    def ramdisk(self) -> Path:
        return self.directory / "initrd.img"

    @property
    def disk(self) -> Path:
        return self.directory / "guest.qcow2"

    @property
    def cmdline_file(self) -> Path:
        return self.directory / "cmdline"

    @property
    def cmdline(self) -> str:
        return self.cmdline_file.read_text().strip()

    def files(self) -> tuple[Path, ...]:
        return self.kernel, self.ramdisk, self.disk, self.cmdline_file


def missing_requirements() -> str:
    """What this machine lacks to build the image, for people; empty when nothing does."""
    needed = [*guest_tree.PROGRAMS, guest_tree.BUSYBOX, guest_disk.GRUB_BOOT]
    missing = [str(path) for path in needed if not path.exists()]
    missing += [tool for tool in _TOOLS if shutil.which(tool) is None]
    if _newest_kernel() is None:
        missing.append("/boot/vmlinuz-*-cloud-amd64")
    return f"missing {', '.join(missing)}: apt-get install {PACKAGES}" if missing else ""


def build_guest_image(
    directory: Path, *, size_mib: int = guest_disk.DEFAULT_SIZE_MIB, kernel: Path | None = None
) -> GuestImage:
    """Builds into `directory`, or finds there what the same inputs gave before. Several processes may
    build into one directory at once: the second waits and finds it done.

    Raises:
        GuestImageError: a package is missing or a tool failed; an earlier image is still whole.
    """
    why_not = missing_requirements()
    if why_not:
        raise GuestImageError(why_not)
    chosen = kernel or _newest_kernel()
    assert chosen is not None  # missing_requirements says so
    modules = Path("/lib/modules") / chosen.name.removeprefix("vmlinuz-")
    directory.mkdir(parents=True, exist_ok=True)
    image = GuestImage(directory)
    with (directory / LOCK_FILE).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        digest = _inputs_digest(chosen, modules, size_mib)
        stamp = directory / STAMP_FILE
        built = stamp.exists() and stamp.read_text() == digest
        if not built or not all(path.exists() for path in image.files()):
            stamp.unlink(missing_ok=True)
            _build(image, chosen, modules, size_mib)
            stamp.write_text(digest)
    return image


def _build(image: GuestImage, kernel: Path, modules: Path, size_mib: int) -> None:
    with tempfile.TemporaryDirectory(dir=image.directory) as scratch_name:
        scratch = Path(scratch_name)
        fresh = GuestImage(scratch / "out")
        root, small = scratch / "root", scratch / "small"
        for path in (fresh.directory, root, small):
            path.mkdir(mode=0o755)
        guest_tree.make_root_tree(root)
        guest_tree.make_initrd_tree(small, modules)
        shutil.copyfile(kernel, fresh.kernel)
        fresh.ramdisk.write_bytes(guest_tree.compress(guest_tree.cpio_archive(small)))
        for path, name in ((fresh.kernel, "vmlinuz"), (fresh.ramdisk, "initrd.img")):
            shutil.copyfile(path, root / "boot" / name)
            (root / "boot" / name).chmod(0o644)
        guest_disk.write_disk(fresh.disk, root, size_mib=size_mib)
        fresh.cmdline_file.write_text(guest_scripts.CMDLINE + "\n")
        for path in fresh.files():
            os.replace(path, image.directory / path.name)  # a running guest keeps the old file


def _newest_kernel() -> Path | None:
    kernels = Path("/boot").glob("vmlinuz-*-cloud-amd64")
    return max(kernels, key=lambda path: _numbers(path.name), default=None)


def _numbers(name: str) -> list[int]:
    return [int(word) for word in name.replace("-", ".").split(".") if word.isdigit()]


def _inputs_digest(kernel: Path, modules: Path, size_mib: int) -> str:
    """Over the bytes of everything that enters the image, and our own code."""
    paths = [kernel, guest_tree.BUSYBOX, guest_disk.GRUB_BOOT, *guest_tree.program_files()]
    paths += [modules / name for name in guest_tree.module_files(modules)]
    paths += [Path(source.__file__ or "") for source in _SOURCES]
    total = hashlib.sha256(f"{size_mib}".encode())
    for path in paths:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fabric.dev.guest_image", description="Builds the test guest."
    )
    parser.add_argument("outdir", type=Path)
    parser.add_argument("--size", type=int, default=guest_disk.DEFAULT_SIZE_MIB, help="of the disk, in MiB")
    options = parser.parse_args(argv)
    try:
        image = build_guest_image(options.outdir, size_mib=options.size)
    except GuestImageError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for path in image.files():
        sys.stdout.write(f"{path} {path.stat().st_size}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

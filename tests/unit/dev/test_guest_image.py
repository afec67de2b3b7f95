"""The guest image: whole, cached, and the same each time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fabric.dev import guest_image as images
from fabric.dev import guest_scripts, guest_tree
from fabric.dev.guest_image import GuestImage, GuestImageError, build_guest_image


def digests(image: GuestImage) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in image.files()]


def test_the_same_inputs_give_the_same_bytes(guest_image: GuestImage, tmp_path: Path) -> None:
    before = os.umask(0o077)  # whose rights the builder gives must not matter
    try:
        again = build_guest_image(tmp_path / "again")
    finally:
        os.umask(before)
    assert digests(again) == digests(guest_image)


def test_what_is_built_is_not_built_again(guest_image: GuestImage) -> None:
    before = [path.stat().st_ino for path in guest_image.files()]
    assert build_guest_image(guest_image.directory) == guest_image
    assert [path.stat().st_ino for path in guest_image.files()] == before


def test_a_lost_file_is_built_again(guest_image: GuestImage, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in (guest_image.kernel, guest_image.ramdisk, guest_image.cmdline_file):
        (copy / path.name).write_bytes(path.read_bytes())
    stamp = guest_image.directory / images.STAMP_FILE
    (copy / images.STAMP_FILE).write_text(stamp.read_text())
    assert digests(build_guest_image(copy)) == digests(guest_image)


def test_other_inputs_are_other_images(guest_image: GuestImage, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = images._newest_kernel()
    assert kernel is not None
    modules = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
    digest = images._inputs_digest(kernel, modules, 64)
    assert digest == (guest_image.directory / images.STAMP_FILE).read_text()
    assert images._inputs_digest(kernel, modules, 65) != digest
    monkeypatch.setattr(guest_tree, "BUSYBOX", Path(__file__))
    assert images._inputs_digest(kernel, modules, 64) != digest


def test_nothing_but_the_image_is_left(guest_image: GuestImage) -> None:
    names = {path.name for path in guest_image.directory.iterdir()}
    assert names == {"vmlinuz", "initrd.img", "guest.qcow2", "cmdline", images.STAMP_FILE, images.LOCK_FILE}


def test_the_kernel_is_told_the_disk_and_the_console(guest_image: GuestImage) -> None:
    assert "root=LABEL=guestroot" in guest_image.cmdline.split()
    consoles = [word for word in guest_image.cmdline.split() if word.startswith("console=")]
    assert consoles[-1] == "console=ttyS0"  # the last one is /dev/console


def test_a_machine_without_the_packages_is_told_which(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_tree, "BUSYBOX", tmp_path / "no-busybox")
    assert "no-busybox" in images.missing_requirements()
    with pytest.raises(GuestImageError, match="apt-get install"):
        build_guest_image(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_builds(guest_image: GuestImage) -> None:
    argv = [sys.executable, "-m", "fabric.dev.guest_image", str(guest_image.directory)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert str(guest_image.disk) in done.stdout


def test_modules_come_after_those_they_need(tmp_path: Path) -> None:
    (tmp_path / "modules.dep").write_text(
        "kernel/virtio_blk.ko: kernel/virtio.ko kernel/ring.ko\n"
        "kernel/virtio.ko: kernel/ring.ko\n"
        "kernel/ring.ko:\n"
        "kernel/unwanted.ko:\n"
    )
    assert guest_tree.module_files(tmp_path) == ["kernel/ring.ko", "kernel/virtio.ko", "kernel/virtio_blk.ko"]


@pytest.mark.parametrize("name", ["etc/rc", "sbin/netd", "sbin/metadata", "etc/udhcpc.script", "etc/say"])
def test_the_scripts_are_shell(name: str) -> None:
    done = subprocess.run(
        ["sh", "-n"], input=guest_scripts.FILES[name].text, capture_output=True, text=True, timeout=10
    )
    assert done.returncode == 0, done.stderr

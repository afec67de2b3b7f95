"""What may pass for an image of which format."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.control.errors import InvalidError
from fabric.control.image_formats import HEADER_BYTES, check_formats, check_header, check_pair

GIB = 1 << 30


def qcow2(
    *,
    version: int = 3,
    backing_offset: int = 0,
    cluster_bits: int = 16,
    virtual_bytes: int = GIB,
    crypt: int = 0,
    incompatible: int = 0,
    extensions: bytes = b"",
    header_length: int = 104,
) -> bytes:
    """A header laid out as QEMU's docs/interop/qcow2.txt says."""
    v2 = struct.pack(
        ">4sIQIIQII", b"QFI\xfb", version, backing_offset, 0, cluster_bits, virtual_bytes, crypt, 1
    )
    v2 += struct.pack(">QQIIQ", 0x30000, 0x10000, 1, 0, 0)
    assert len(v2) == 72
    v3 = struct.pack(">QQQII", incompatible, 0, 0, 4, header_length) if version == 3 else b""
    return (v2 + v3 + extensions).ljust(HEADER_BYTES, b"\0")


def test_a_plain_qcow2_tells_its_virtual_size() -> None:
    assert check_header("qcow2", qcow2()) == GIB
    assert check_header("qcow2", qcow2(version=2)) == GIB


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (qcow2(backing_offset=512), "backing file"),
        (qcow2(version=2, backing_offset=512), "backing file"),
        (qcow2(incompatible=4), "external data file"),
        (qcow2(extensions=struct.pack(">II", 0x44415441, 8) + b"/etc/pwd"), "external data file"),
        (qcow2(crypt=1), "encrypted"),
        (qcow2(crypt=2), "encrypted"),
        (qcow2(version=4), "version 4"),
        (qcow2(cluster_bits=8), "cluster_bits"),
        (qcow2(cluster_bits=63), "cluster_bits"),
        (qcow2(virtual_bytes=0), "virtual size"),
        (qcow2(virtual_bytes=1 << 63), "virtual size"),
        (qcow2(header_length=16), "header length"),
        (qcow2(header_length=1 << 31), "header length"),
        (qcow2(extensions=struct.pack(">II", 1, 0) * 1000), "too many"),
        (qcow2()[:100], "cut short"),
    ],
)
def test_an_unsafe_qcow2_is_refused(header: bytes, why: str) -> None:
    with pytest.raises(InvalidError, match=why):
        check_header("qcow2", header)


@pytest.mark.parametrize("header", [b"", b"QFI", b"QFI\xfb", b"\0" * 512, b"<html>" * 100])
def test_what_is_not_qcow2_is_refused_as_qcow2(header: bytes) -> None:
    with pytest.raises(InvalidError, match="qcow2"):
        check_header("qcow2", header)


@pytest.mark.parametrize("disk_format", ["raw", "aki", "ari", "ami"])
def test_bytes_of_another_format_are_refused_as_raw(disk_format: str) -> None:
    others = [qcow2(), b"KDMV" + b"\0" * 508, b"vhdxfile", b"conectix", b"\0" * 64 + b"\x7f\x10\xda\xbe"]
    for header in others:
        with pytest.raises(InvalidError, match=disk_format):
            check_header(disk_format, header)


@pytest.mark.parametrize("header", [b"", b"\0" * 512, b"\xeb\x63\x90" + b"\0" * 507 + b"\x55\xaa"])
def test_raw_is_anything_else(header: bytes) -> None:
    assert check_header("raw", header) is None


@given(st.binary(max_size=300), st.sampled_from(["qcow2", "raw"]))
def test_no_bytes_break_the_judge(tail: bytes, disk_format: str) -> None:
    for header in (tail, b"QFI\xfb" + tail, b"QFI\xfb\0\0\0\x03" + tail):
        try:
            check_header(disk_format, header)
        except InvalidError:
            continue


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img")
def test_images_qemu_makes_are_judged_rightly(tmp_path: Path) -> None:
    base, plain, overlay, data = (str(tmp_path / name) for name in ("base", "plain", "overlay", "data"))
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", base, "1M"], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", plain, "10G"], check=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, overlay], check=True)
    options = f"data_file={tmp_path / 'ext'},data_file_raw=on"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, data, "1M"], check=True)
    assert check_header("qcow2", Path(plain).read_bytes()[:HEADER_BYTES]) == 10 * GIB
    for unsafe in (overlay, data):
        with pytest.raises(InvalidError):
            check_header("qcow2", Path(unsafe).read_bytes()[:HEADER_BYTES])


def test_formats_must_be_set_and_go_together() -> None:
    check_formats("qcow2", "bare")
    check_formats("aki", "aki")
    check_pair(None, "bare")
    with pytest.raises(InvalidError, match="disk_format, container_format"):
        check_formats(None, None)
    with pytest.raises(InvalidError, match="container_format"):
        check_formats("raw", None)
    with pytest.raises(InvalidError, match="must match"):
        check_formats("aki", "bare")

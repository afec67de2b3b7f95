"""Do the bytes match what the record says they are? Judged from the first bytes, before any are kept.

Why it matters: a disk image can name files of the machine that opens it (a qcow2's backing file or
external data file). A guest booted from such an image would read its host's disk. So a qcow2 must stand
alone, and bytes called "raw" must not be some other format that a tool could probe and follow.
Source: QEMU `docs/interop/qcow2.txt`; OpenStack advisory OSSA-2024-001 (CVE-2024-32498).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fabric.control.errors import InvalidError

HEADER_BYTES = 64 * 1024  # qcow2 headers and their extensions live in the first cluster, most often this long
VIRTUAL_BYTES_MAX = 64 << 40

DISK_FORMATS = ("raw", "qcow2", "aki", "ari", "ami")
CONTAINER_FORMATS = ("bare", "aki", "ari", "ami")
_AMAZON = ("aki", "ari", "ami")

_QCOW2_MAGIC = b"QFI\xfb"
_EXTENSION_END = 0x00000000
_EXTENSION_DATA_FILE = 0x44415441
_INCOMPATIBLE_DATA_FILE = 1 << 2
_EXTENSIONS_MAX = 64
_CLUSTER_BITS = range(9, 22)
_QCOW2_V2_LENGTH = 72
_QCOW2_V3_LENGTH_MIN = 104

_OTHER_FORMATS = (  # where, what, whose: never valid as "raw"
    (0, _QCOW2_MAGIC, "qcow2"),
    (0, b"QED\x00", "qed"),
    (0, b"KDMV", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (0x40, b"\x7f\x10\xda\xbe", "vdi"),
)


@dataclass(frozen=True, slots=True)
class _Qcow2Header:
    version: int
    backing_offset: int
    virtual_bytes: int
    cluster_bits: int
    crypt_method: int


def check_formats(disk_format: str | None, container_format: str | None) -> None:
    """A record with both formats set, so that bytes may come. Raises InvalidError naming what is missing."""
    missing = [
        name
        for name, value in (("disk_format", disk_format), ("container_format", container_format))
        if value is None
    ]
    if missing:
        raise InvalidError(f"Properties {', '.join(missing)} must be set prior to saving data.")
    check_pair(disk_format, container_format)


def check_pair(disk_format: str | None, container_format: str | None) -> None:
    """Amazon's kernel, ramdisk and machine formats go with themselves. Source: Glance's api/common."""
    for one in (disk_format, container_format):
        if one in _AMAZON and None not in (disk_format, container_format) and disk_format != container_format:
            raise InvalidError(
                "Invalid mix of disk and container formats. When setting a disk or container format to one "
                "of 'aki', 'ari', or 'ami', the container and disk formats must match."
            )


def check_header(disk_format: str, header: bytes) -> int | None:
    """The virtual size in bytes the header declares; None when the format has none (then it is the file's).

    `header` is the first HEADER_BYTES of the image, or all of a shorter one.
    Raises InvalidError: not that format, or not safe to open.
    """
    if disk_format == "qcow2":
        return _check_qcow2(header)
    for offset, magic, name in _OTHER_FORMATS:
        if header[offset : offset + len(magic)] == magic:
            raise InvalidError(
                f"The image's disk_format is '{disk_format}' but the data is {name}. Nothing was stored."
            )
    return None


def _check_qcow2(header: bytes) -> int:
    fields = _parse_qcow2(header)
    if fields.backing_offset != 0:
        raise _unsafe("it has a backing file")
    if fields.crypt_method != 0:
        raise _unsafe("it is encrypted")
    if fields.cluster_bits not in _CLUSTER_BITS:
        raise _unsafe(f"its cluster_bits {fields.cluster_bits} is out of range")
    if not 0 < fields.virtual_bytes <= VIRTUAL_BYTES_MAX:
        raise _unsafe(f"its virtual size {fields.virtual_bytes} is out of range")
    if fields.version == 3:
        _check_v3(header)
    else:
        _check_extensions(header, _QCOW2_V2_LENGTH)
    return fields.virtual_bytes


def _parse_qcow2(header: bytes) -> _Qcow2Header:
    if len(header) < _QCOW2_V2_LENGTH or header[:4] != _QCOW2_MAGIC:
        raise InvalidError("The image's disk_format is 'qcow2' but the data is not. Nothing was stored.")
    version, backing_offset = struct.unpack_from(">IQ", header, 4)
    cluster_bits, virtual_bytes, crypt_method = struct.unpack_from(">IQI", header, 20)
    if version not in (2, 3):
        raise _unsafe(f"version {version} is unknown")
    return _Qcow2Header(version, backing_offset, virtual_bytes, cluster_bits, crypt_method)


def _check_v3(header: bytes) -> None:
    if len(header) < _QCOW2_V3_LENGTH_MIN:
        raise _unsafe("its header is cut short")
    (incompatible,) = struct.unpack_from(">Q", header, 72)
    if incompatible & _INCOMPATIBLE_DATA_FILE:
        raise _unsafe("it has an external data file")
    (length,) = struct.unpack_from(">I", header, 100)
    if not _QCOW2_V3_LENGTH_MIN <= length <= len(header):
        raise _unsafe("its header length is out of range")
    _check_extensions(header, length)


def _check_extensions(header: bytes, offset: int) -> None:
    for _ in range(_EXTENSIONS_MAX):
        if offset + 8 > len(header):
            return  # an image shorter than one header's worth of extensions: it has none that matter
        kind, length = struct.unpack_from(">II", header, offset)
        if kind == _EXTENSION_END:
            return
        if kind == _EXTENSION_DATA_FILE:
            raise _unsafe("it has an external data file")
        offset += 8 + (length + 7) // 8 * 8
    raise _unsafe("it has too many header extensions")


def _unsafe(why: str) -> InvalidError:
    return InvalidError(f"This qcow2 image cannot be accepted: {why}. Nothing was stored.")

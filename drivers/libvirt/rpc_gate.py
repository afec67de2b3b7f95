"""What of libvirt's own protocol another host's libvirtd may say to ours: that one domain migrates. Pure.

Behind a libvirt socket is everything its daemon can do, and it runs as root. So the destination reads along:
frame by frame, only the calls of a migration pass, and those that describe a domain only when they
describe the one that is expected. What libvirtd answers is not looked at.

Framing and numbers: libvirt's src/rpc/virnetprotocol.x and src/remote/remote_protocol.x (XDR, RFC 4506); the
calls are those that a libvirtd of 9.0 was seen to make. They are kept by its promise of compatibility.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree

from proto.errors import DriverError

MESSAGE_BYTES_MAX = 4 * 1024 * 1024  # the largest seen has 17 KiB; its cookie is what may grow
PARAMETERS_MAX = 64

_HEADER = struct.Struct(">7I")  # length with itself, program, version, procedure, type, serial, status
_REMOTE_PROGRAM = 0x20008086
_KEEPALIVE_PROGRAM = 0x6B656570
_CALL = 0
_OPEN, _CLOSE, _SUPPORTS_FEATURE, _AUTH_LIST = 1, 2, 60, 66
_PREPARE3_PARAMS, _FINISH3_PARAMS = 303, 306
_REGISTER_CLOSE_CALLBACK, _UNREGISTER_CLOSE_CALLBACK = 360, 361
_PASSES = frozenset(
    {_CLOSE, _SUPPORTS_FEATURE, _AUTH_LIST, _REGISTER_CLOSE_CALLBACK, _UNREGISTER_CLOSE_CALLBACK}
)
_URI = re.compile(r"qemu:///(system|session)")  # others might have the daemon run programs
# LIVE, PEER2PEER, PERSIST_DEST, UNDEFINE_SOURCE, PAUSED, NON_SHARED_INC, CHANGE_PROTECTION, ABORT_ON_ERROR,
# AUTO_CONVERGE of libvirt's virDomainMigrateFlags.
_FLAGS = 1 | 2 | 8 | 16 | 32 | 128 | 256 | 4096 | 8192
_NUMBERS = {1: 4, 2: 4, 3: 8, 4: 8, 5: 8, 6: 4}  # bytes of a typed parameter's value, by type
_STRING = 7
_UNCHECKED = frozenset({"bandwidth", "auto_converge.initial", "auto_converge.increment"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The one migration that may pass."""

    domain_name: str
    memory_uri: str
    disks_uri: str
    check_domain: Callable[[str], None]  # raises DriverError


class RpcGate:
    """Bytes in, the same bytes out once their frame is whole and allowed."""

    def __init__(self, expected: Expected) -> None:
        self._expected = expected
        self._kept = bytearray()

    def feed(self, data: bytes) -> bytes:
        """What may pass now. Raises DriverError at the first word that may not: cut the connection then."""
        self._kept += data
        passed = bytearray()
        while len(self._kept) >= _HEADER.size:
            (length,) = struct.unpack_from(">I", self._kept)
            if not _HEADER.size <= length <= MESSAGE_BYTES_MAX:
                raise DriverError(f"a libvirt message of {length} bytes")
            if len(self._kept) < length:
                break
            message = bytes(self._kept[:length])
            self._check(message)
            passed += message
            del self._kept[:length]
        return bytes(passed)

    def _check(self, message: bytes) -> None:
        _, program, _, procedure, kind, _, _ = _HEADER.unpack_from(message)
        if program == _KEEPALIVE_PROGRAM:
            return
        if program != _REMOTE_PROGRAM or kind != _CALL:
            raise DriverError(f"libvirt program {program:#x}, message type {kind} is no part of a migration")
        if procedure in _PASSES:
            return
        body = _Body(message[_HEADER.size :])
        if procedure == _OPEN:
            self._check_open(body)
        elif procedure in (_PREPARE3_PARAMS, _FINISH3_PARAMS):
            self._check_parameters(body)
        else:
            raise DriverError(f"libvirt procedure {procedure} is no part of a migration")

    def _check_open(self, body: _Body) -> None:
        name = body.text() if body.number() else ""
        if name and not _URI.fullmatch(name):
            raise DriverError("libvirt is to open another driver than QEMU's")

    def _check_parameters(self, body: _Body) -> None:
        """Prepare3Params and Finish3Params begin alike: parameters, cookie, flags."""
        expected = self._expected
        for name, value in body.parameters():
            match name:
                case "destination_name":
                    is_allowed = value == expected.domain_name
                case "migrate_uri":
                    is_allowed = value == expected.memory_uri
                case "disks_uri":
                    is_allowed = value == expected.disks_uri
                case "destination_xml" | "persistent_xml":
                    expected.check_domain(value)
                    is_allowed = True
                case _:
                    is_allowed = name in _UNCHECKED
            if not is_allowed:
                raise DriverError(f"a migration with an unexpected {ascii(name)[:60]}")
        for domain in _domains_in(body.opaque()):
            expected.check_domain(domain)
        flags = body.number()
        if flags & ~_FLAGS:
            raise DriverError(f"a migration with unexpected flags {flags:#x}")


class _Body:
    """A message's arguments, read in order. Raises DriverError for what is not XDR."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    def number(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def opaque(self) -> bytes:
        length = self.number()
        data = self._take(length)
        self._take(-length % 4)
        return data

    def text(self) -> str:
        try:
            return self.opaque().decode()
        except UnicodeDecodeError as error:
            raise DriverError("a libvirt message with text that is none") from error

    def parameters(self) -> Iterator[tuple[str, str]]:
        """Names, and values where they are text."""
        count = self.number()
        if count > PARAMETERS_MAX:
            raise DriverError(f"a libvirt message with {count} parameters")
        for _ in range(count):
            name, kind = self.text(), self.number()
            if kind == _STRING:
                yield name, self.text()
            elif kind in _NUMBERS:
                self._take(_NUMBERS[kind])
                yield name, ""
            else:
                raise DriverError(f"a libvirt parameter of type {kind}")

    def _take(self, length: int) -> bytes:
        end = self._offset + length
        if end > len(self._data):
            raise DriverError("a libvirt message that ends too early")
        data = self._data[self._offset : end]
        self._offset = end
        return data


def _domains_in(cookie: bytes) -> Iterator[str]:
    """The definition that is to last comes in a cookie of libvirt's own, as XML."""
    text = cookie.rstrip(b"\0")
    if not text:
        return
    try:
        root = ElementTree.fromstring(text)  # noqa: S314 - bounded; expat itself bounds what entities become
    except ElementTree.ParseError as error:
        raise DriverError(f"libvirt's migration cookie is no XML: {error}") from error
    for domain in root.iter("domain"):
        yield ElementTree.tostring(domain, encoding="unicode")

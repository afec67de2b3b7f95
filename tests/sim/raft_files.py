"""A disk with a page cache, for the simulator: what was written and not synced may be there after a crash or
not, sector by sector, in any order; it may be full, fail, or rot.

Model after TigerBeetle's `testing/storage.zig` and the crash states of Pillai and others, "All File Systems
Are Not Created Equal" (OSDI 2014): sectors of 512 bytes are atomic, names are durable after `sync_names`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from copy import deepcopy
from random import Random

SECTOR_BYTES = 512


class PowerLostError(Exception):
    """The machine dies in the middle of an operation."""


class _Inode:
    def __init__(self, size: int) -> None:
        self.now = bytearray(size)  # as processes see it
        self.durable = bytearray(size)
        self.dirty: set[int] = set()  # sectors written and not synced

    def sectors(self, numbers: set[int]) -> None:
        """These are durable now."""
        for sector in numbers:
            part = slice(sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES)
            self.durable[part] = self.now[part]


class SimFiles:
    """Implements `fabric.store.files.Files`."""

    def __init__(self) -> None:
        self._names: dict[str, _Inode] = {}
        self._durable_names: dict[str, _Inode] = {}
        self._steps_left: int | None = None
        self._failing: Callable[[str], bool] = _never
        self._number = errno.EIO
        self.free_bytes: int | None = None

    # ---- faults

    def lose_power_after(self, steps: int | None) -> None:
        """The operation after so many raises PowerLostError: it is half done at most. None: it stays on."""
        self._steps_left = steps

    def fail_when(self, chosen: Callable[[str], bool], number: int = errno.EIO) -> None:
        """Operations so chosen by name raise that error. A failed sync drops what it should have kept, and a
        second one would say that all is well, as kernels do."""
        self._failing, self._number = chosen, number

    def process_ends(self) -> None:
        """The machine goes on: what was written is there to be read, whether it was synced or not."""
        self._steps_left = None
        self._failing = _never

    def crash(self, rng: Random) -> None:
        """The machine is off and on again: any part of what was not synced is there."""
        for inode in self._names.values():
            inode.sectors({sector for sector in sorted(inode.dirty) if rng.random() < 0.5})
        if rng.random() < 0.5:  # the directory may have been written though nobody asked
            self._durable_names = dict(self._names)
        self._names = dict(self._durable_names)
        for inode in self._names.values():
            inode.now, inode.dirty = bytearray(inode.durable), set()
        self._steps_left = None
        self._failing = _never

    def copy(self) -> SimFiles:
        """The same files on another machine."""
        other = SimFiles()
        other._names, other._durable_names = deepcopy((self._names, self._durable_names))
        return other

    def durable(self, name: str) -> bytes:
        """What a power loss would leave of it."""
        return bytes(self._names[name].durable)

    def rot(self, name: str, offset: int) -> None:
        """A bit flips, as disks do."""
        for content in (self._names[name].now, self._names[name].durable):
            content[offset] ^= 1 << offset % 8

    def step(self, operation: str) -> None:
        if self._steps_left is not None:
            if self._steps_left == 0:
                raise PowerLostError(operation)
            self._steps_left -= 1
        self._fail(operation)

    def _fail(self, operation: str) -> None:
        if self._failing(operation):
            raise OSError(self._number, f"{operation} failed")

    # ---- the contract

    def names(self) -> list[str]:
        return sorted(self._names)

    def read(self, name: str) -> bytes:
        self._fail("read")
        return bytes(self._names[name].now)

    def create(self, name: str, size: int) -> SimFile:
        self.step("create")
        if self.free_bytes is not None:
            if size > self.free_bytes:
                raise OSError(errno.ENOSPC, "no space left")
            self.free_bytes -= size
        self._names[name] = _Inode(size)
        return self.open(name)

    def open(self, name: str) -> SimFile:
        return SimFile(self, self._names[name])

    def rename(self, old: str, new: str) -> None:
        self.step("rename")
        self._names[new] = self._names.pop(old)

    def remove(self, name: str) -> None:
        self.step("remove")
        inode = self._names.pop(name)
        if self.free_bytes is not None:
            self.free_bytes += len(inode.now)

    def sync_names(self) -> None:
        self.step("sync_names")
        self._durable_names = dict(self._names)


def _never(operation: str) -> bool:
    del operation
    return False


class SimFile:
    def __init__(self, files: SimFiles, inode: _Inode) -> None:
        self._files = files
        self._inode = inode

    def write_at(self, data: bytes, offset: int) -> None:
        inode, end = self._inode, offset + len(data)
        assert end <= len(inode.now), "files are preallocated"
        inode.now[offset:end] = data
        inode.dirty |= set(range(offset // SECTOR_BYTES, -(-end // SECTOR_BYTES)))
        self._files.step("write")  # a power cut finds it in the cache, or on the disk in part

    def sync(self) -> None:
        dirty = self._inode.dirty
        try:
            self._files.step("sync")
        except OSError:
            dirty.clear()  # the kernel marks the pages clean; they are not on the disk
            raise
        self._inode.sectors(dirty)
        dirty.clear()

    def close(self) -> None: ...

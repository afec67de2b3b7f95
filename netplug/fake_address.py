"""An address plug without a kernel, for the sim driver. As a kernel would, its file outlives the agent."""

from __future__ import annotations

from ipaddress import ip_interface
from pathlib import Path

from netplug.system import read_file, write_file
from proto.errors import NetPlugError


class FakeAddressPlug:
    """Implements `netplug.contract.AddressPlug`."""

    def __init__(self, directory: Path, address: str) -> None:
        self._file = directory / "fake_address"
        self._address = str(ip_interface(address))
        self._is_open = False
        self.announced_count = 0
        self.refuses = ""  # why whatever is asked fails, where it does

    async def open(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False

    async def ensure(self) -> bool:
        if await self.is_present():
            return False
        write_file(self._file, self._address)
        return True

    async def remove(self) -> bool:
        self._need_open()
        was_there = self._file.exists()
        self._file.unlink(missing_ok=True)
        return was_there

    async def is_present(self) -> bool:
        self._need_open()
        return read_file(self._file) == self._address

    async def announce(self) -> None:
        if not await self.is_present():
            raise NetPlugError(f"{self._address} is not on this host")
        self.announced_count += 1

    def _need_open(self) -> None:
        if not self._is_open:
            raise NetPlugError("the address plug is not open")
        if self.refuses:
            raise NetPlugError(self.refuses)

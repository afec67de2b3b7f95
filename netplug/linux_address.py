"""An address that moves between hosts, put on an interface of this one and taken from it again.

What is ours is marked in the kernel itself (IFA_PROTO, Linux 5.18): only marked addresses are ever removed,
wherever they are, so one that a crashed agent left under an earlier configuration goes as well. An older
kernel drops the mark; there an address is ours when it is exactly the one we were told of. One network
namespace takes one such plug.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, ip_address, ip_interface
from typing import TypeVar

from netplug.announcement import gratuitous_arp, unsolicited_advertisement
from netplug.linux import KernelAddresses, Link, PlacedAddress
from proto.errors import NetPlugError

ALL_NODES = "ff02::1"
NEIGHBOUR_HOPS = 255  # a neighbour's word has crossed no router, and the receiver checks it: RFC 4861, 7.1.2
MAC_BYTES = 6

T = TypeVar("T")


class LinuxAddressPlug:
    """`address` with its prefix length. `interface`: where it goes; "": the one that carries `beside`, an
    address of this host. Implements `netplug.contract.AddressPlug`."""

    def __init__(self, address: str, *, interface: str = "", beside: str = "") -> None:
        self._wanted = ip_interface(address)
        self._interface = interface
        self._beside = beside
        self._kernel = KernelAddresses()
        self._worker: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="address")

    async def close(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            await asyncio.to_thread(worker.shutdown, wait=True)

    async def ensure(self) -> bool:
        return await self._in_worker(self._ensure)

    async def remove(self) -> bool:
        return await self._in_worker(self._remove)

    async def is_present(self) -> bool:
        return await self._in_worker(lambda: any(map(self._is_in_place, self._found())))

    async def announce(self) -> None:
        await self._in_worker(self._announce)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        """In the order asked. The worker runs to its end even when the caller is cancelled."""
        if self._worker is None:
            raise NetPlugError("the address plug is not open")

        def done() -> T:
            with self._kernel.opened():
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._worker, done)

    def _found(self) -> list[PlacedAddress]:
        return [placed for placed in self._kernel.addresses() if self._is_ours(placed)]

    def _is_ours(self, placed: PlacedAddress) -> bool:
        if self._kernel.keeps_marks:
            return placed.is_marked
        return ip_interface(placed.address) == self._wanted

    def _is_in_place(self, placed: PlacedAddress) -> bool:
        return ip_interface(placed.address) == self._wanted and placed.index == self._link().index

    def _ensure(self) -> bool:
        link = self._link()
        _mac(link)
        for placed in self._kernel.addresses():
            if ip_interface(placed.address).ip == self._wanted.ip and not self._is_ours(placed):
                raise NetPlugError(
                    f"{self._wanted.ip} is on this host already, and not by us: remove it there"
                )
        found = self._found()
        if any(map(self._is_in_place, found)):
            return False
        for placed in found:
            self._kernel.delete(placed)
        self._kernel.add(link.index, str(self._wanted))
        return True

    def _remove(self) -> bool:
        found = self._found()
        for placed in found:
            self._kernel.delete(placed)
        return bool(found)

    def _announce(self) -> None:
        link = self._link()
        address, mac = self._wanted.ip, _mac(link)
        try:
            if isinstance(address, IPv4Address):
                # Protocol 0: this socket hears nothing.
                with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire:
                    wire.bind((link.name, 0))
                    for frame in gratuitous_arp(address, mac):
                        wire.send(frame)
                return
            with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as wire:
                wire.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, NEIGHBOUR_HOPS)
                wire.bind((str(address), 0, 0, 0))
                message = unsolicited_advertisement(address, mac)
                wire.sendto(message, (ALL_NODES, 0, 0, link.index))
        except PermissionError as error:
            raise NetPlugError(f"cannot announce {address}: the agent needs root or CAP_NET_RAW") from error
        except OSError as error:
            raise NetPlugError(f"cannot announce {address} on {link.name}: {error.strerror}") from error

    def _link(self) -> Link:
        if self._interface:
            link = self._kernel.link_named(self._interface)
            if link is None:
                raise NetPlugError(f"this host has no interface {self._interface}")
            return link
        beside = ip_address(self._beside)
        for placed in self._kernel.addresses():
            if ip_interface(placed.address).ip == beside:
                return self._kernel.link_at(placed.index)
        raise NetPlugError(f"no interface of this host carries {beside}: name the one to use")


def _mac(link: Link) -> bytes:
    mac = bytes.fromhex(link.mac.replace(":", ""))
    if len(mac) != MAC_BYTES or not any(mac):
        raise NetPlugError(
            f"{link.name} is no Ethernet interface: no neighbour can be told of an address on it"
        )
    return mac

"""Which address a new port gets: chosen here, at random, checked again when the command is applied.

Two proposers may draw the same free address; `apply` refuses the second (`address_taken`) and the
loser draws again. Random draws make that rare where "lowest free" would make it certain: with `f`
free addresses and `n` proposers at once the chance of any clash is about n^2 / 2f.
"""

from __future__ import annotations

import ipaddress
import secrets

from fabric.control.context import Cloud
from fabric.control.errors import InvalidError
from fabric.control.network_errors import AddressInUseError, NoAddressLeftError
from fabric.core.networks.model import Subnet
from fabric.core.networks.queries import UsedAddresses

PICK_ATTEMPTS_MAX = 16  # draws of a whole port before giving up; each draw sees the newest rows
_RANDOM_DRAWS_MAX = 32  # blind draws before the free addresses of a nearly full subnet are listed
_MAC_PREFIX = "fa:16:3e"  # Neutron's base_mac, an OUI its clients and firewalls know


async def pick_address(
    cloud: Cloud, subnet: Subnet, wanted: str | None, taken: frozenset[str] = frozenset()
) -> str:
    """An address of `subnet` that no port holds now, in canonical form.

    `wanted` None draws from the allocation pools; otherwise that one is checked (it may lie outside
    the pools but must be a host address of the subnet, and not the gateway's). `taken` holds
    addresses this request has already chosen.

    Raises:
        InvalidError: `wanted` is not a usable address of the subnet.
        AddressInUseError, NoAddressLeftError.
    """
    used = taken | frozenset(await cloud.state.read(UsedAddresses(subnet_id=subnet.subnet_id)))
    if wanted is not None:
        address = usable_address(subnet, wanted)
        if address in used:
            raise AddressInUseError(f"IP address {address} already allocated in subnet {subnet.subnet_id}.")
        return address
    if subnet.gateway_ip is not None:
        used |= {subnet.gateway_ip}
    drawn = _draw(_pool_bounds(subnet), used)
    if drawn is None:
        raise NoAddressLeftError(f"No more IP addresses available on network {subnet.network_id}.")
    return drawn


def is_in_range(subnet: Subnet, address: str) -> bool:
    """False also for what is no address at all."""
    try:
        return ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)
    except ValueError:
        return False


def usable_address(subnet: Subnet, wanted: str) -> str:
    """`wanted` in canonical form. Raises InvalidError unless a port of `subnet` may hold it."""
    net = ipaddress.ip_network(subnet.cidr)
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError as error:
        raise InvalidError(f"'{wanted[:64]}' is not a valid IP address.") from error
    if address.version != net.version or address not in net:
        raise InvalidError(f"IP address {address} is not a valid IP for the specified subnet {subnet.cidr}.")
    if net.num_addresses > 2 and address in (net.network_address, net.broadcast_address):
        raise InvalidError(f"IP address {address} is the network or broadcast address of {subnet.cidr}.")
    if subnet.gateway_ip is not None and str(address) == subnet.gateway_ip:
        raise InvalidError(f"IP address {address} is the gateway of subnet {subnet.subnet_id}.")
    return str(address)


def new_mac() -> str:
    """A random unicast MAC address under Neutron's prefix. Clashes are refused by apply (`mac_taken`)."""
    tail = secrets.token_bytes(3)
    return ":".join([_MAC_PREFIX, *(f"{byte:02x}" for byte in tail)])


def _pool_bounds(subnet: Subnet) -> list[tuple[int, int]]:
    return [
        (int(ipaddress.ip_address(pool.start)), int(ipaddress.ip_address(pool.end))) for pool in subnet.pools
    ]


def _draw(bounds: list[tuple[int, int]], used: frozenset[str]) -> str | None:
    total = sum(end - start + 1 for start, end in bounds)
    if total <= 0:
        return None
    for _ in range(_RANDOM_DRAWS_MAX):
        address = str(ipaddress.ip_address(_nth(bounds, secrets.randbelow(total))))
        if address not in used:
            return address
    return _draw_from_the_rest(bounds, total, used)


def _draw_from_the_rest(bounds: list[tuple[int, int]], total: int, used: frozenset[str]) -> str | None:
    """Nearly full: walk on from a random place. At most len(used) + 1 steps find a free one or none."""
    first = secrets.randbelow(total)
    for step in range(min(total, len(used) + 1)):
        address = str(ipaddress.ip_address(_nth(bounds, (first + step) % total)))
        if address not in used:
            return address
    return None


def _nth(bounds: list[tuple[int, int]], position: int) -> int:
    for start, end in bounds:
        if position <= end - start:
            return start + position
        position -= end - start + 1
    raise AssertionError("position lies beyond the pools")

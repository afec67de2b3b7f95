"""Which address a port gets."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.control.addresses import is_in_range, new_mac, pick_address, usable_address
from fabric.control.context import Cloud
from fabric.control.errors import InvalidError
from fabric.control.network_errors import AddressInUseError, NoAddressLeftError
from fabric.core.networks.model import Subnet
from fabric.core.networks.queries import UsedAddresses
from proto.commands.networks import AllocationPool
from proto.ids import NetworkId, ProjectId, SubnetId


def subnet_of(cidr: str, pools: list[tuple[str, str]], gateway: str | None = None) -> Subnet:
    return Subnet(
        subnet_id=SubnetId("s"),
        network_id=NetworkId("n"),
        project_id=ProjectId("p"),
        name="",
        description="",
        cidr=cidr,
        gateway_ip=gateway,
        enable_dhcp=True,
        dns_nameservers=(),
        pools=tuple(AllocationPool(start, end) for start, end in pools),
        host_routes=(),
        ip_version=4,
        created_ms=0,
        updated_ms=0,
        revision=1,
    )


class _State:
    def __init__(self, used: set[str]) -> None:
        self.used = used

    async def read(self, query: UsedAddresses) -> tuple[str, ...]:
        assert query.subnet_id == "s"
        return tuple(self.used)


class _Cloud:
    def __init__(self, used: set[str]) -> None:
        self.state = _State(used)


def cloud_with(*used: str) -> Cloud:
    return cast(Cloud, cast(Any, _Cloud(set(used))))


async def test_every_free_address_is_found_and_then_none() -> None:
    subnet = subnet_of("10.0.0.0/28", [("10.0.0.2", "10.0.0.6"), ("10.0.0.9", "10.0.0.14")], "10.0.0.1")
    used: set[str] = set()
    for _ in range(11):
        used.add(await pick_address(cloud_with(*used), subnet, None))
    assert used == {f"10.0.0.{n}" for n in (2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14)}
    with pytest.raises(NoAddressLeftError):
        await pick_address(cloud_with(*used), subnet, None)


async def test_addresses_of_the_same_request_are_not_drawn_twice() -> None:
    subnet = subnet_of("10.0.0.0/29", [("10.0.0.2", "10.0.0.3")])
    assert await pick_address(cloud_with(), subnet, None, frozenset({"10.0.0.2"})) == "10.0.0.3"


async def test_the_gateway_is_never_drawn() -> None:
    subnet = subnet_of("10.0.0.0/29", [("10.0.0.1", "10.0.0.2")], "10.0.0.1")
    assert await pick_address(cloud_with(), subnet, None) == "10.0.0.2"


async def test_no_pool_means_no_address() -> None:
    with pytest.raises(NoAddressLeftError):
        await pick_address(cloud_with(), subnet_of("10.0.0.0/29", []), None)


async def test_a_wanted_address_may_lie_outside_the_pools() -> None:
    subnet = subnet_of("10.0.0.0/24", [("10.0.0.2", "10.0.0.3")], "10.0.0.1")
    assert await pick_address(cloud_with("10.0.0.2"), subnet, "10.0.0.200") == "10.0.0.200"


async def test_a_wanted_address_that_is_taken_is_refused() -> None:
    subnet = subnet_of("10.0.0.0/24", [])
    with pytest.raises(AddressInUseError, match=r"10\.0\.0\.7"):
        await pick_address(cloud_with("10.0.0.7"), subnet, "10.0.0.7")


@pytest.mark.parametrize(
    "wanted", ["10.0.0.0", "10.0.0.255", "10.0.0.1", "10.0.1.1", "::1", "", "ten", "10.0.0.7/24", "010.0.0.7"]
)
def test_addresses_no_port_may_have(wanted: str) -> None:
    with pytest.raises(InvalidError):
        usable_address(subnet_of("10.0.0.0/24", [], "10.0.0.1"), wanted)


def test_range_check_takes_any_text() -> None:
    subnet = subnet_of("10.0.0.0/24", [])
    assert is_in_range(subnet, "10.0.0.9")
    assert not any(is_in_range(subnet, text) for text in ("10.0.1.9", "", "::1", "x" * 1000))


def test_macs_are_unicast_under_neutrons_prefix() -> None:
    assert all(re.fullmatch(r"fa:16:3e(:[0-9a-f]{2}){3}", new_mac()) for _ in range(50))


@settings(max_examples=50)
@given(st.sets(st.integers(min_value=2, max_value=61)))
async def test_a_drawn_address_is_free_and_in_a_pool(taken: set[int]) -> None:
    subnet = subnet_of("10.0.0.0/26", [("10.0.0.2", "10.0.0.30"), ("10.0.0.33", "10.0.0.61")], "10.0.0.1")
    used = {f"10.0.0.{n}" for n in taken}
    free = {f"10.0.0.{n}" for n in range(2, 62) if n not in (31, 32)} - used
    if not free:
        with pytest.raises(NoAddressLeftError):
            await pick_address(cloud_with(*used), subnet, None)
        return
    address = await pick_address(cloud_with(*used), subnet, None)
    assert address in free
    assert ipaddress.ip_address(address) in ipaddress.ip_network(subnet.cidr)

"""Dedicated processors: whose they are, and that nobody else ever has them. On the simulated driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from drivers.contract import DomainSpec, Pins, RootDisk
from drivers.sim import SimDriver
from fabric.compute.errors import NoProcessorsError
from fabric.compute.pin_keeper import PinKeeper
from fabric.compute.processors import HostProcessors, divide
from fabric.core.servers.model import FlavorSnapshot
from fabric.errors import ConfigError
from proto.ids import FlavorId, ServerId, new_uuid
from tests.fixtures.compute_doubles import DriverDouble, Machine

FOUR = HostProcessors(shared=frozenset({0, 1}), dedicated=frozenset({2, 3, 4, 5}))
A, B, C = (ServerId(new_uuid()) for _ in range(3))


def flavor(vcpus: int = 2, **specs: str) -> FlavorSnapshot:
    wanted = {key.replace("__", ":"): value for key, value in specs.items()}
    return FlavorSnapshot(
        flavor_id=FlavorId("f"), name="f", vcpus=vcpus, memory_mb=64, root_gb=1, ephemeral_gb=0, swap_mb=0,
        extra_specs=wanted or {"hw:cpu_policy": "dedicated"},
    )  # fmt: skip


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[SimDriver]:
    made = SimDriver(tmp_path / "servers", vcpus=6)
    await made.open()
    yield made
    await made.close()


async def boot(driver: SimDriver, tmp_path: Path, server_id: ServerId, pins: Pins | None) -> None:
    base = tmp_path / "base"
    base.write_bytes(b"disk")
    root = RootDisk(base_path=str(base), base_format="raw", size_gb=1)
    spec = DomainSpec(
        server_id=server_id, name="s", project_id="p", vcpus=2, memory_mb=64, root=root, nics=(), pins=pins
    )
    await driver.ensure_running(spec)


async def test_each_guest_has_its_own(driver: SimDriver) -> None:
    keeper = PinKeeper(driver, FOUR)
    assert await keeper.pins(A, flavor()) == Pins(vcpus=(2, 3), emulator=(2, 3))
    assert await keeper.pins(B, flavor(1)) == Pins(vcpus=(4,), emulator=(4,))
    with pytest.raises(NoProcessorsError, match="2 dedicated processors wanted, 1 of the host's 4 free"):
        await keeper.pins(C, flavor())
    assert await keeper.pins(A, flavor()) == Pins(vcpus=(2, 3), emulator=(2, 3))  # asked again: the same
    keeper.release(A)
    assert await keeper.pins(C, flavor(3)) == Pins(vcpus=(2, 3, 5), emulator=(2, 3, 5))


async def test_what_a_build_that_never_ended_was_given_is_forgotten(
    driver: SimDriver, tmp_path: Path
) -> None:
    keeper = PinKeeper(driver, FOUR)
    pins = await keeper.pins(A, flavor(1))
    await boot(driver, tmp_path, A, pins and Pins(vcpus=(2, 5)))
    await keeper.pins(B, flavor(1))
    keeper.forget_others({C})
    assert await keeper.pins(C, flavor()) == Pins(vcpus=(3, 4), emulator=(3, 4))  # of A there is a guest


async def test_plain_guests_have_none_and_share(driver: SimDriver) -> None:
    keeper = PinKeeper(driver, FOUR)
    assert await keeper.pins(A, flavor(hw__cpu_policy="shared")) is None
    assert keeper.cpu_set == (0, 1)
    assert PinKeeper(driver, HostProcessors()).cpu_set == ()


async def test_another_life_finds_them_in_the_domains(driver: SimDriver, tmp_path: Path) -> None:
    first = PinKeeper(driver, FOUR)
    await first.pins(A, flavor())  # never defined: forgotten with this life
    pins = await first.pins(B, flavor())
    await boot(driver, tmp_path, B, pins)
    driver.guest_powers_off(B)
    second = PinKeeper(driver, FOUR)
    assert await second.pins(C, flavor()) == Pins(vcpus=(2, 3), emulator=(2, 3))
    assert await second.pins(B, flavor()) == pins == Pins(vcpus=(4, 5), emulator=(4, 5))
    await driver.ensure_absent(B)
    second.release(B)
    assert await second.pins(A, flavor()) == Pins(vcpus=(4, 5), emulator=(4, 5))


async def test_where_the_emulator_runs(driver: SimDriver, tmp_path: Path) -> None:
    keeper = PinKeeper(driver, FOUR)
    isolated = flavor(hw__cpu_policy="dedicated", hw__emulator_threads_policy="isolate")
    pins = await keeper.pins(A, isolated)
    assert pins == Pins(vcpus=(2, 3), emulator=(4,))
    await boot(driver, tmp_path, A, pins)
    shared = flavor(1, hw__cpu_policy="dedicated", hw__emulator_threads_policy="share")
    assert await keeper.pins(B, shared) == Pins(vcpus=(5,), emulator=(0, 1))
    await boot(driver, tmp_path, B, await keeper.pins(B, flavor(1)))
    later = PinKeeper(driver, FOUR)
    assert await later.pins(A, isolated) == pins
    assert await later.pins(B, shared) == Pins(vcpus=(5,), emulator=(0, 1))
    unshared = PinKeeper(DriverDouble(Machine()), HostProcessors(dedicated=frozenset({7})))
    assert await unshared.pins(B, shared) == Pins(vcpus=(7,), emulator=(7,))


async def test_a_set_that_shrank_gives_others(driver: SimDriver, tmp_path: Path) -> None:
    await boot(driver, tmp_path, A, Pins(vcpus=(2, 3)))
    keeper = PinKeeper(driver, HostProcessors(dedicated=frozenset({3, 4, 5})))
    assert await keeper.pins(A, flavor()) == Pins(vcpus=(3, 4), emulator=(3, 4))
    with pytest.raises(NoProcessorsError, match="0 of the host's 0 free"):
        await PinKeeper(driver, HostProcessors()).pins(A, flavor())


async def test_named_processors_count_as_the_policy_does(driver: SimDriver) -> None:
    keeper = PinKeeper(driver, FOUR)
    assert await keeper.pins(A, flavor(resources__PCPU="2")) == Pins(vcpus=(2, 3), emulator=(2, 3))
    with pytest.raises(NoProcessorsError, match="1 dedicated processors are not enough for 2 vCPUs"):
        await keeper.pins(B, flavor(resources__PCPU="1"))


async def test_many_at_once_never_meet(driver: SimDriver) -> None:
    keeper = PinKeeper(driver, HostProcessors(dedicated=frozenset(range(16))))
    servers = [ServerId(new_uuid()) for _ in range(10)]
    found = await asyncio.gather(*(keeper.pins(each, flavor()) for each in servers), return_exceptions=True)
    given = [cpu for pins in found if isinstance(pins, Pins) for cpu in pins.vcpus]
    assert sorted(given) == list(range(16))
    assert sum(isinstance(each, NoProcessorsError) for each in found) == 2


def test_a_machine_is_divided_by_the_operators_sets() -> None:
    online = range(4)
    none, low, high = frozenset[int](), frozenset({0, 1}), frozenset({2, 3})
    offers = DriverDouble(Machine()).offers  # 8 processors
    for shared, dedicated, divided, vcpus in (
        (none, none, HostProcessors(), 8),
        (low, high, HostProcessors(shared=low, dedicated=high), 2),
        (none, high, HostProcessors(shared=low, dedicated=high), 2),
        (low, none, HostProcessors(shared=low), 2),
        (none, low | high, HostProcessors(dedicated=low | high), 0),
    ):
        found = divide(online, shared=shared, dedicated=dedicated)
        assert (found, found.vcpus(offers)) == (divided, vcpus)
    with pytest.raises(
        ConfigError, match=r"compute.cpu_dedicated_set: this machine has no processor 4-5; it has 0-3"
    ):
        divide(online, shared=none, dedicated=frozenset({3, 4, 5}))


async def test_of_a_mixed_guest_some_have_their_own_and_the_rest_share(
    driver: SimDriver, tmp_path: Path
) -> None:
    keeper = PinKeeper(driver, FOUR)
    mixed = flavor(3, hw__cpu_policy="mixed", hw__cpu_dedicated_mask="^1")
    pins = await keeper.pins(A, mixed)
    assert pins == Pins(vcpus=(2, 3), of=(0, 2), emulator=(0, 1))
    await boot(driver, tmp_path, A, pins)
    later = PinKeeper(driver, FOUR)
    assert await later.pins(B, flavor()) == Pins(vcpus=(4, 5), emulator=(4, 5))
    assert await later.pins(A, mixed) == pins
    apart = flavor(
        2, hw__cpu_policy="mixed", hw__cpu_dedicated_mask="0", hw__emulator_threads_policy="isolate"
    )
    later.release(B)
    assert await later.pins(C, apart) == Pins(vcpus=(4,), of=(0,), emulator=(5,))

"""What the simulated driver has beyond the contract: faults, slow builds, events of guests and hosts."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from drivers.contract import DomainSpec, Nic, Power, RootDisk
from drivers.sim import CONSOLE_BYTES_MAX, PIDS_RESERVED, SimDriver, SimFaults
from proto.errors import DriverError
from proto.ids import ServerId, new_uuid


@pytest.fixture
def base(tmp_path: Path) -> str:
    path = tmp_path / "base.raw"
    path.write_bytes(b"image")
    return str(path)


def a_spec(base: str, name: str = "web") -> DomainSpec:
    return DomainSpec(
        server_id=ServerId(new_uuid()),
        name=name,
        project_id="p",
        vcpus=1,
        memory_mb=64,
        root=RootDisk(base_path=base, base_format="raw", size_gb=1),
        nics=(Nic(device="tap0", mac="fa:16:3e:aa:bb:cc", mtu=1450),),
    )


async def test_failures_are_spent_one_by_one(tmp_path: Path, base: str) -> None:
    faults = SimFaults(failures=Counter(ensure_running=2))
    driver = SimDriver(tmp_path / "s", faults=faults)
    await driver.open()
    spec = a_spec(base)
    for _ in range(2):
        with pytest.raises(DriverError, match="simulated failure"):
            await driver.ensure_running(spec)
        assert await driver.list_domains() == ()
    assert (await driver.ensure_running(spec)).power is Power.RUNNING


async def test_a_failure_after_the_disks_leaves_them(tmp_path: Path, base: str) -> None:
    faults = SimFaults(failures=Counter(ensure_running=1), fail_after_disks=True)
    driver = SimDriver(tmp_path / "s", faults=faults)
    await driver.open()
    spec = a_spec(base)
    with pytest.raises(DriverError):
        await driver.ensure_running(spec)
    (state,) = await driver.list_domains()
    assert state.power is Power.SHUTDOWN
    assert (await driver.ensure_running(spec)).power is Power.RUNNING


@pytest.mark.parametrize(
    "verb", ["ensure_stopped", "ensure_absent", "list_domains", "console_log", "reboot", "pinned"]
)
async def test_every_verb_can_fail(tmp_path: Path, base: str, verb: str) -> None:
    driver = SimDriver(tmp_path / "s", faults=SimFaults(failures=Counter({verb: 1}), message="disk on fire"))
    await driver.open()
    spec = a_spec(base)
    await driver.ensure_running(spec)
    calls = {
        "ensure_stopped": lambda: driver.ensure_stopped(spec.server_id, grace_ms=0),
        "ensure_absent": lambda: driver.ensure_absent(spec.server_id),
        "list_domains": driver.list_domains,
        "pinned": driver.pinned,
        "console_log": lambda: driver.console_log(spec.server_id, bytes_max=1),
        "reboot": lambda: driver.reboot(spec, hard=True, grace_ms=0),
    }
    with pytest.raises(DriverError, match="disk on fire"):
        await calls[verb]()
    await calls[verb]()


async def test_a_cancelled_build_leaves_what_a_killed_one_would(tmp_path: Path, base: str) -> None:
    driver = SimDriver(tmp_path / "s", build_ms=60_000, jitter_ms=10, rng=random.Random(1))
    await driver.open()
    spec = a_spec(base)
    build = asyncio.create_task(driver.ensure_running(spec))
    while not (tmp_path / "s" / spec.server_id / "root.disk").exists():
        await asyncio.sleep(0)
    build.cancel()
    with pytest.raises(asyncio.CancelledError):
        await build
    (state,) = await driver.list_domains()
    assert state.power is Power.SHUTDOWN
    await driver.ensure_absent(spec.server_id)
    assert await driver.list_domains() == ()


async def test_a_guest_that_does_not_listen_costs_the_whole_grace(tmp_path: Path, base: str) -> None:
    driver = SimDriver(tmp_path / "s", faults=SimFaults(ignore_acpi=True))
    await driver.open()
    spec = a_spec(base)
    await driver.ensure_running(spec)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await driver.ensure_stopped(spec.server_id, grace_ms=50)
    assert loop.time() - began >= 0.045


async def test_the_console_tells_name_and_mac(tmp_path: Path, base: str) -> None:
    driver = SimDriver(tmp_path / "s")
    await driver.open()
    spec = a_spec(base, name="web\nümlaut")
    await driver.ensure_running(spec)
    text = (await driver.console_log(spec.server_id, bytes_max=10_000)).decode("ascii")
    assert "fa:16:3e:aa:bb:cc" in text
    assert "guest: booted web ?mlaut boot=1" in text
    await driver.reboot(spec, hard=True, grace_ms=0)
    assert b"boot=2" in await driver.console_log(spec.server_id, bytes_max=10_000)


async def test_the_console_does_not_grow_without_end(tmp_path: Path, base: str) -> None:
    driver = SimDriver(tmp_path / "s")
    await driver.open()
    spec = a_spec(base)
    await driver.ensure_running(spec)
    log = tmp_path / "s" / spec.server_id / "console.log"
    log.write_bytes(b"x" * (CONSOLE_BYTES_MAX + 1))
    await driver.reboot(spec, hard=True, grace_ms=0)
    assert log.stat().st_size < CONSOLE_BYTES_MAX


async def test_pids_are_never_given_twice(tmp_path: Path, base: str) -> None:
    seen = []
    for _ in range(3):
        driver = SimDriver(tmp_path / "s")
        await driver.open()
        for _ in range(PIDS_RESERVED + 1):
            seen.append((await driver.ensure_running(a_spec(base))).pid)
        await driver.close()
    assert len(set(seen)) == len(seen)


async def test_guests_and_hosts_end_by_themselves(tmp_path: Path, base: str) -> None:
    driver = SimDriver(tmp_path / "s")
    await driver.open()
    off, crashed, unlucky = a_spec(base), a_spec(base), a_spec(base)
    for spec in (off, crashed, unlucky):
        await driver.ensure_running(spec)
    driver.guest_powers_off(off.server_id)
    driver.guest_crashes(crashed.server_id)
    power = {state.server_id: state.power for state in await driver.list_domains()}
    assert power == {
        off.server_id: Power.SHUTDOWN,
        crashed.server_id: Power.CRASHED,
        unlucky.server_id: Power.RUNNING,
    }
    assert (await driver.ensure_running(crashed)).power is Power.RUNNING
    driver.host_loses_power()
    assert {state.power for state in await driver.list_domains()} == {Power.SHUTDOWN}


async def test_a_damaged_state_file_is_an_error_not_a_crash(tmp_path: Path, base: str) -> None:
    driver = SimDriver(tmp_path / "s")
    await driver.open()
    spec = a_spec(base)
    await driver.ensure_running(spec)
    (tmp_path / "s" / spec.server_id / "domain.json").write_text("{")
    with pytest.raises(DriverError, match=r"domain\.json"):
        await driver.list_domains()
    await driver.ensure_absent(spec.server_id)
    assert await driver.list_domains() == ()


def test_negative_capacity_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="negative"):
        SimDriver(tmp_path, vcpus=-1)

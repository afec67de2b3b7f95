"""A flavor's limits on their way from the row to driver and plug."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from drivers.contract import CpuLimits, DiskLimit
from fabric.compute.network_plan import host_plan
from fabric.compute.offering import host_offers
from fabric.compute.supplement import Supplement
from fabric.core.placement.resources import CPU_LIMITS
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.states import Verb, VmState
from netplug.contract import RatePlan
from proto.ids import ServerId
from tests.fixtures.compute_doubles import DriverDouble, Machine
from tests.fixtures.compute_rows import HOST, assigned, placed
from tests.unit.compute.world import World

LIMITS = {
    "quota:cpu_shares": "512",
    "quota:cpu_period": "20000",
    "quota:cpu_quota": "5000",
    "quota:disk_write_iops_sec": "100",
    "quota:disk_write_iops_sec_max": "200",
    "quota:vif_inbound_average": "1000",
    "quota:vif_inbound_peak": "2000",
    "quota:vif_outbound_average": "500",
    "quota:vif_outbound_burst": "64",
}
WRONG = {"quota:disk_total_iops_sec": "1", "quota:disk_read_iops_sec": "1", "quota:vif_inbound_average": "1"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def add(world: World, specs: dict[str, str], name: str = "web-1", address: str = "10.0.0.5") -> ServerId:
    flavor = replace(placed(name).flavor, extra_specs=specs)
    return world.add(name, address, flavor=flavor)


async def test_driver_and_plug_are_told_and_again_after_a_restart_and_a_hard_reboot(world: World) -> None:
    server_id = add(world, LIMITS)
    async with world.life():
        await world.until_active(server_id)
    told = world.machine.specs[server_id]
    assert told.cpu_limits == CpuLimits(shares=512, period_us=20_000, quota_us=5_000)
    assert told.disk_limits == (DiskLimit(way="write", unit="iops", per_s=100, burst=200),)
    async with world.life() as life:
        await world.until(lambda: life.plug.applied > 0)
        (port,) = world.machine.plan.ports
        assert port.inbound == RatePlan(average_kb_s=1_000, peak_kb_s=2_000)
        assert port.outbound == RatePlan(average_kb_s=500, burst_kb=64)
        world.state.act(server_id, Verb.REBOOT_HARD)
        world.machine.specs.clear()
        life.side.nudge()
        await world.until_active(server_id)
    assert world.machine.specs[server_id].cpu_limits == told.cpu_limits
    assert world.machine.specs[server_id].disk_limits == told.disk_limits


async def test_limits_that_make_no_sense_fail_the_build_and_say_why(world: World) -> None:
    wrong, good = add(world, WRONG), add(world, {}, "web-2", "10.0.0.6")
    async with world.life():
        await world.until_state(wrong, VmState.ERROR)
        await world.until_active(good)
    fault = world.row(wrong).fault
    assert fault is not None
    assert "Build failed at step `limits`" in fault.message
    assert "quota:disk_total_iops_sec cannot go with quota:disk_read_iops_sec" in fault.message
    assert wrong not in world.machine.specs


def test_a_guest_that_had_such_limits_before_anybody_asked_keeps_its_port_and_its_neighbours_theirs() -> None:
    def row(name: str, address: str, specs: dict[str, str]) -> AssignedServer:
        flavor = replace(placed(name).flavor, extra_specs=specs)
        return assigned(placed(name, flavor=flavor), address=address)

    rows = [row("web-1", "10.0.0.5", WRONG), row("web-2", "10.0.0.6", LIMITS)]
    plan = host_plan(rows, security_groups=(), group_addresses={}, metadata_ports={})
    by_host = {port.hostname: port.inbound for port in plan.ports}
    assert by_host == {
        rows[0].server.hostname: None,
        rows[1].server.hostname: RatePlan(average_kb_s=1_000, peak_kb_s=2_000),
    }


def test_a_host_that_can_limit_processors_offers_it() -> None:
    offers = DriverDouble(Machine()).offers
    assert CPU_LIMITS not in host_offers(HOST, replace(offers, limits_cpu=False), Supplement()).traits
    assert CPU_LIMITS in host_offers(HOST, replace(offers, limits_cpu=True), Supplement()).traits

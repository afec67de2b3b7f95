"""What `netplug.contract` promises, of every plug."""

from __future__ import annotations

import asyncio

import pytest

from netplug.contract import (
    HostPlan,
    Leftovers,
    PortsRefusedError,
    RatePlan,
    bridge_name,
    shaper_name,
    tap_name,
)
from proto.errors import NetPlugError
from tests.contract.netplug.conftest import CountedPlug, PlugBed
from tests.fixtures.network_plans import EMPTY, host, mac, network, network_id, port, port_id, subnet

ONE = host([network(1)], [port(1)])
TWO = host([network(1)], [port(1), port(2)])
SLOW = RatePlan(average_kb_s=1_000, peak_kb_s=2_000, burst_kb=64)
LIMITED = host(
    [network(1)], [port(1, inbound=SLOW, outbound=SLOW), port(2, outbound=SLOW), port(3, inbound=SLOW)]
)


async def test_planned_ports_come_back_with_their_devices(plug: CountedPlug) -> None:
    plugged = await plug.apply(TWO)
    assert [(entry.port_id, entry.device) for entry in plugged] == [
        (port_id(1), tap_name(port_id(1))),
        (port_id(2), tap_name(port_id(2))),
    ]
    left = await plug.leftovers()
    assert left.bridges == (bridge_name(network_id(1)),)
    assert left.taps == (tap_name(port_id(1)), tap_name(port_id(2)))
    assert left.nft_rules > 0
    assert left.files


async def test_equal_plans_change_nothing(plug: CountedPlug) -> None:
    await plug.apply(TWO)
    writes = await plug.writes()
    assert writes > 0
    backwards = HostPlan(networks=TWO.networks[::-1], ports=TWO.ports[::-1])
    for plan in (TWO, backwards):
        await plug.apply(plan)
        assert await plug.writes() == writes


async def test_last_port_takes_everything_with_it(plug: CountedPlug) -> None:
    await plug.apply(TWO)
    await plug.apply(ONE)
    left = await plug.leftovers()
    assert left.taps == (tap_name(port_id(1)),)
    assert left.bridges == (bridge_name(network_id(1)),)
    await plug.apply(EMPTY)
    assert await plug.leftovers() == Leftovers()


async def test_network_without_ports_gets_nothing(plug: CountedPlug) -> None:
    await plug.apply(host([network(1), network(2)], []))
    assert await plug.leftovers() == Leftovers()
    await plug.apply(host([network(1), network(2)], [port(1)]))
    assert (await plug.leftovers()).bridges == (bridge_name(network_id(1)),)


async def test_data_plane_outlives_the_plug(plug_bed: PlugBed) -> None:
    first = plug_bed.make()
    await first.open()
    await first.apply(TWO)
    before = await first.leftovers()
    await first.close()
    second = plug_bed.make()
    await second.open()
    assert await second.leftovers() == before
    await second.apply(TWO)
    assert await second.writes() == 0, "what is right already is adopted as it is"
    assert await second.leftovers() == before
    await second.apply(EMPTY)
    assert await second.leftovers() == Leftovers()
    await second.close()


async def test_closed_plug_refuses(plug_bed: PlugBed) -> None:
    plug = plug_bed.make()
    with pytest.raises(NetPlugError, match="not open"):
        await plug.apply(ONE)
    with pytest.raises(NetPlugError, match="not open"):
        await plug.leftovers()


async def test_uplink_takes_one_network_and_who_came_first_keeps_it(plug: CountedPlug) -> None:
    later, first = network(1, physical="phy0"), network(2, physical="phy0")
    await plug.apply(host([first], [port(2, net=2)]))
    with pytest.raises(PortsRefusedError, match="carries network") as caught:
        await plug.apply(host([later, first, network(3)], [port(1), port(2, net=2), port(3, net=3)]))
    assert [entry.port_id for entry in caught.value.refused] == [port_id(1)]
    assert [entry.port_id for entry in caught.value.plugged] == [port_id(2), port_id(3)]
    left = await plug.leftovers()
    assert left.bridges == (bridge_name(network_id(2)), bridge_name(network_id(3)))
    # The uplink is free again once its network left.
    await plug.apply(host([later], [port(1)]))
    assert (await plug.leftovers()).bridges == (bridge_name(network_id(1)),)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (network(9, physical="elsewhere"), "no uplink for the physical network 'elsewhere'"),
        (network(9, strategy="vlan"), "does not know the network strategy"),
        (network(9, subnet("10.1.0.128/25", "10.1.0.129")), "overlaps network"),
        (network(9, subnet("10.9.0.0/24", "10.8.0.1")), "gateway"),
        (network(9, subnet("ten/24")), "ten/24"),
        (network(9, mtu=10), "mtu 10"),
        (network(9, mtu=9_001, physical="phy0"), "below the network's 9001"),
        (network(9, metadata_port=0), "metadata port 0"),
    ],
)
async def test_bad_network_is_refused_alone(plug: CountedPlug, bad: object, reason: str) -> None:
    await plug.apply(ONE)
    assert isinstance(bad, type(network(9)))
    with pytest.raises(PortsRefusedError) as caught:
        await plug.apply(host([network(1), bad], [port(1), port(9, "10.9.0.9", net=9)]))
    assert [entry.port_id for entry in caught.value.refused] == [port_id(9)]
    assert reason in caught.value.refused[0].reason
    assert [entry.port_id for entry in caught.value.plugged] == [port_id(1)]
    assert (await plug.leftovers()).taps == (tap_name(port_id(1)),)


async def test_port_of_an_unplanned_network_is_refused(plug: CountedPlug) -> None:
    with pytest.raises(PortsRefusedError, match="is not in the plan"):
        await plug.apply(host([], [port(1)]))
    assert await plug.leftovers() == Leftovers()


async def test_refused_port_is_cut_off_but_kept_and_comes_back(plug: CountedPlug) -> None:
    """A guest holds the tap open: deleting it would need a new guest, cutting it off does not."""
    await plug.apply(TWO)
    broken = host([network(1)], [port(1), port(2, "10.1.0.1")])
    with pytest.raises(PortsRefusedError, match=r"10\.1\.0\.1 is taken"):
        await plug.apply(broken)
    assert (await plug.leftovers()).taps == (tap_name(port_id(1)), tap_name(port_id(2)))
    assert len(await plug.apply(TWO)) == 2
    await plug.apply(EMPTY)
    assert await plug.leftovers() == Leftovers()


async def test_plan_that_contradicts_itself_changes_nothing(plug: CountedPlug) -> None:
    await plug.apply(ONE)
    before, writes = await plug.leftovers(), await plug.writes()
    for bad in (host([network(1)], [port(1), port(1)]), host([network(1), network(1)], [port(1)])):
        with pytest.raises(NetPlugError, match="twice"):
            await plug.apply(bad)
    assert await plug.leftovers() == before
    assert await plug.writes() == writes


async def test_same_mac_on_two_networks_is_fine(plug: CountedPlug) -> None:
    twin = host([network(1), network(2)], [port(1), port(2, net=2)])
    from dataclasses import replace

    ports = (twin.ports[0], replace(twin.ports[1], mac=mac(1)))
    assert len(await plug.apply(HostPlan(networks=twin.networks, ports=ports))) == 2


async def test_applies_at_once_end_in_the_last_plan(plug: CountedPlug) -> None:
    plans = [host([network(1)], [port(number) for number in range(1, count + 1)]) for count in (3, 1, 2)]
    await asyncio.gather(*(plug.apply(plan) for plan in plans))
    assert (await plug.leftovers()).taps == (tap_name(port_id(1)), tap_name(port_id(2)))


async def test_many_networks_of_one_host(plug: CountedPlug) -> None:
    networks = [network(number) for number in range(1, 6)]
    ports = [port(number * 10 + index, net=number) for number in range(1, 6) for index in range(3)]
    assert len(await plug.apply(host(networks, ports))) == 15
    assert len((await plug.leftovers()).bridges) == 5


async def test_limits_come_change_and_go_and_leave_nothing(plug: CountedPlug) -> None:
    await plug.apply(LIMITED)
    shapers = (shaper_name(port_id(1)), shaper_name(port_id(2)))
    left = await plug.leftovers()
    assert (left.taps, left.shapers) == (tuple(tap_name(port_id(n)) for n in (1, 2, 3)), shapers)
    writes = await plug.writes()
    await plug.apply(LIMITED)
    assert await plug.writes() == writes
    faster = RatePlan(average_kb_s=1_001, peak_kb_s=2_000, burst_kb=64)
    await plug.apply(host([network(1)], [port(1, inbound=faster, outbound=SLOW), *LIMITED.ports[1:]]))
    assert await plug.writes() > writes
    assert (await plug.leftovers()).shapers == shapers
    await plug.apply(host([network(1)], [port(1), port(2, inbound=SLOW), port(3)]))
    assert (await plug.leftovers()).shapers == ()
    await plug.apply(LIMITED)
    await plug.apply(TWO)
    assert (await plug.leftovers()).shapers == ()
    await plug.apply(LIMITED)
    await plug.apply(EMPTY)
    assert await plug.leftovers() == Leftovers()


async def test_limits_outlive_the_plug(plug_bed: PlugBed) -> None:
    first = plug_bed.make()
    await first.open()
    await first.apply(LIMITED)
    await first.close()
    second = plug_bed.make()
    await second.open()
    await second.apply(LIMITED)
    assert await second.writes() == 0
    await second.apply(EMPTY)
    assert await second.leftovers() == Leftovers()
    await second.close()

"""What hosts offer beyond their rows, and servers that want some of it, on both engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fabric.core.nodes.queries import ListHosts
from fabric.core.placement.inventory import Inventory
from fabric.core.placement.queries import ListHostFacts
from fabric.core.providers.queries import (
    GetProviderRows,
    ListConsumers,
    ListHostOffers,
    ListResourceClasses,
    ListTraits,
)
from proto.commands import Command
from proto.commands.catalog import FlavorUpdate
from proto.commands.nodes import JoinTokenCreate, NodeRemove
from proto.commands.providers import ClassInventory, HostOffers, ProviderCreate
from proto.ids import FlavorId, NodeId, ServerId, TokenId
from tests.fixtures.store_world import HOST_A, HOST_B, StoreWorld, flavor_create, host_register, node_admit

GOLD = "CUSTOM_GOLD"
A_ID, B_ID = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa", "bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb"


def offers(host_id: NodeId = HOST_A, **changes: Any) -> HostOffers:
    fields: dict[str, Any] = {
        "inventories": {GOLD: ClassInventory(total=5, reserved=1, max_unit=3, step_size=1)},
        "traits": ("HW_CPU_X86_AVX2", "CUSTOM_FAST", "CUSTOM_FAST"),
        "facts": {"cells": [{"cpus": 4}]},
    }
    return HostOffers(host_id=host_id, **fields | changes)


async def golden(world: StoreWorld, amount: int = 2, **specs: str) -> dict[str, Any]:
    """A flavor that wants gold, as arguments of a server."""
    name = f"gold-{amount}-{len(specs)}"
    flavor_id = FlavorId(name)
    await world.do(flavor_create(name))
    wanted = {f"resources:{GOLD}": str(amount), **specs}
    await world.do(FlavorUpdate(flavor_id=flavor_id, extra_specs_set=wanted))
    return {"flavor_id": flavor_id}


async def held(world: StoreWorld) -> dict[NodeId, Mapping[str, int]]:
    """Of other classes than every host's own."""
    usages = await world.ask(ListHosts())
    return {usage.host.host_id: usage.others_used for usage in usages if usage.others_used}


async def test_an_offer_is_kept_and_replaced(world: StoreWorld) -> None:
    await world.do(offers())
    (first,) = await world.ask(ListHostOffers())
    assert first.host_id == HOST_A
    assert first.inventories == {GOLD: Inventory(total=5, reserved=1, max_unit=3)}
    assert (first.traits, first.facts) == (("CUSTOM_FAST", "HW_CPU_X86_AVX2"), {"cells": [{"cpus": 4}]})
    world.clock.advance(10)
    await world.do(offers())
    assert await world.ask(ListHostOffers()) == (first,)  # nothing changed, so no newer either
    await world.do(offers(inventories={}, traits=()))
    (second,) = await world.ask(ListHostOffers())
    assert (second.inventories, second.traits, second.updated_ms) == ({}, (), first.updated_ms + 10)
    # what was named once stays known, as in Placement
    assert [each.name for each in await world.ask(ListResourceClasses())] == [GOLD]
    assert [each.name for each in await world.ask(ListTraits())] == ["CUSTOM_FAST"]


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (offers(inventories={"VCPU": ClassInventory(total=1)}), "VCPU of a host"),
        (offers(inventories={"GOLD": ClassInventory(total=1)}), "no standard resource class GOLD"),
        (offers(inventories={GOLD: ClassInventory(total=0)}), "Invalid inventory for 'CUSTOM_GOLD'"),
        (offers(inventories={GOLD: ClassInventory(total=1, reserved=2)}), "Invalid inventory"),
        (offers(inventories={GOLD: ClassInventory(total=1, min_unit=3, max_unit=2)}), "Invalid inventory"),
        (offers(traits=("FAST",)), "no standard trait FAST"),
    ],
)
async def test_offers_that_make_no_sense_are_refused(world: StoreWorld, command: Command, words: str) -> None:
    await world.refuse(command, "invalid", words)
    assert await world.ask(ListHostOffers()) == ()
    assert await world.ask(ListResourceClasses()) == ()


async def test_the_scheduler_sees_what_is_offered_and_held(world: StoreWorld) -> None:
    await world.do(offers())
    await world.active("one", **await golden(world))
    a, b = sorted(await world.ask(ListHostFacts()), key=lambda facts: facts.host.host_id)
    assert (set(a.offered), a.used[GOLD]) == ({GOLD}, 2)
    assert a.traits == {"COMPUTE_NODE", "CUSTOM_FAST", "HW_CPU_X86_AVX2"}
    assert (b.offered, GOLD in b.used, b.traits) == ({}, False, {"COMPUTE_NODE"})


async def test_facts_of_some_hosts_are_those_of_all(world: StoreWorld) -> None:
    await world.do(offers())
    await world.active("one", **await golden(world))
    await world.do(world.place(await world.server("two"), HOST_B))
    a, b = found = await world.ask(ListHostFacts())
    assert (a.servers, b.io_ops, len(a.images)) == (1, 1, 1)
    assert await world.ask(ListHostFacts(host_ids=(HOST_B, HOST_A, NodeId("c" * 32)))) == found
    assert await world.ask(ListHostFacts(host_ids=(HOST_B,))) == (b,)
    without = ListHostFacts(host_ids=(HOST_A,), except_server=ServerId("one"))
    assert [(facts.servers, facts.used[GOLD]) for facts in await world.ask(without)] == [(0, 0)]
    assert await world.ask(ListHostFacts(host_ids=(NodeId("c" * 32),))) == ()


async def test_only_a_host_offers(world: StoreWorld) -> None:
    await world.refuse(offers(NodeId("c" * 32)), "not_found")


async def test_nothing_is_there_at_level_one(bare: StoreWorld) -> None:
    if bare.engine.level > 1:
        pytest.skip("a shared database is made at the newest level")
    await bare.init()
    await bare.refuse(offers(), "bad_state", "level 2")
    wants = await golden(bare)
    assert await bare.ask(ListHostOffers()) == ()
    assert await bare.ask(ListResourceClasses()) == ()
    await bare.active("web", **wants)  # as the version before places it
    assert await held(bare) == {HOST_A: {GOLD: 2}}
    rows = await bare.ask(GetProviderRows(with_used=True))
    assert rows.used == {A_ID: {"VCPU": 1, "MEMORY_MB": 512, "DISK_GB": 1, GOLD: 2}}
    assert (rows.offers, rows.outside) == ({}, ())
    assert [each.consumer_id for each in await bare.ask(ListConsumers())] == ["web"]


async def test_a_server_is_placed_where_its_classes_are_free(world: StoreWorld) -> None:
    await world.do(offers())
    wants = await golden(world)
    one, two, three = [await world.server(name, **wants) for name in ("one", "two", "three")]
    await world.do(world.place(one))
    await world.refuse(world.place(two, HOST_B), "no_capacity", "2 CUSTOM_GOLD wanted, none offered")
    await world.do(world.place(two))
    words = "Compute host host-a has no room for three: 2 CUSTOM_GOLD wanted, 0 of 4 free."
    assert await world.refuse(world.place(three), "no_capacity") == words
    assert await held(world) == {HOST_A: {GOLD: 4}}
    await world.do(world.act(one, "delete"))
    await world.refuse(world.place(three), "no_capacity")  # its host still has it


async def test_units_count_too(world: StoreWorld) -> None:
    await world.do(offers(inventories={GOLD: ClassInventory(total=9, max_unit=4, step_size=2)}))
    for amount, fits in ((3, False), (6, False), (4, True)):
        server_id = await world.server(f"s{amount}", **await golden(world, amount))
        if fits:
            await world.do(world.place(server_id))
        else:
            await world.refuse(world.place(server_id), "no_capacity", f"{amount} CUSTOM_GOLD wanted")


async def test_dedicated_processors_and_numbered_groups_count(world: StoreWorld) -> None:
    await world.do(offers(inventories={GOLD: ClassInventory(total=9), "PCPU": ClassInventory(total=1)}))
    wants = await golden(world, 1, **{"hw:cpu_policy": "dedicated", f"resources_X:{GOLD}": "2"})
    one, two = [await world.server(name, **wants) for name in ("one", "two")]
    await world.do(world.place(one))
    assert await held(world) == {HOST_A: {GOLD: 3, "PCPU": 1}}
    await world.refuse(world.place(two), "no_capacity", "1 PCPU wanted, 0 of 1 free")


async def test_plain_servers_ask_for_nothing_else(world: StoreWorld) -> None:
    await world.active("web")
    assert await held(world) == {}


async def test_an_offer_goes_with_its_host_and_what_was_below_stands_alone(world: StoreWorld) -> None:
    token = TokenId("t")
    far_ms = world.clock.now_ms + 9_999
    await world.do(JoinTokenCreate(token_id=token, secret_hash=b"h", expires_ms=far_ms))
    await world.do(node_admit(HOST_B, token_id=token))
    await world.do(offers(HOST_B))
    await world.do(ProviderCreate(provider_id="0" * 8 + "-x", name="card", parent_id=B_ID))
    await world.do(NodeRemove(node_id=HOST_B))
    rows = await world.ask(GetProviderRows())
    assert rows.offers == {}
    assert [(each.parent_id, each.generation) for each in rows.outside] == [(None, 1)]


async def test_used_is_the_sum_of_what_consumers_hold(world: StoreWorld) -> None:
    await world.do(offers())
    await world.do(flavor_create("swap", swap_mb=100, ephemeral_gb=2))
    await world.active("one", **await golden(world))
    await world.active("two", flavor_id=FlavorId("swap"))
    await world.do(host_register(HOST_B, "host-b", vcpus=2))
    rows = await world.ask(GetProviderRows(with_used=True))
    consumers = await world.ask(ListConsumers(provider_id=A_ID))
    assert [each.consumer_id for each in consumers] == ["one", "two"]
    total: dict[str, int] = {}
    for each in consumers:
        for name, amount in each.allocations[A_ID].items():
            total[name] = total.get(name, 0) + amount
    assert rows.used == {A_ID: total} == {A_ID: {"VCPU": 2, "MEMORY_MB": 1_024, "DISK_GB": 5, GOLD: 2}}

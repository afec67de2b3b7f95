"""Providers and consumers from outside, accepted and each way rejected, on both engines."""

from __future__ import annotations

from typing import Any

from fabric.core.placement.inventory import Inventory
from fabric.core.providers.model import Consumer, OutsideProvider
from fabric.core.providers.queries import GetProviderRows, ListConsumers, ListResourceClasses, ListTraits
from proto.commands.providers import (
    AllocationsSet,
    ClassInventory,
    ConsumerHolds,
    Held,
    ProviderCreate,
    ProviderDelete,
    ProviderSet,
    ProvidersReshape,
    ProviderStock,
    ProviderUpdate,
    ResourceClassCreate,
    ResourceClassDelete,
    ResourceClassRename,
    TraitCreate,
    TraitDelete,
)
from tests.fixtures.store_world import StoreWorld

HOST_ID = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
ONE, TWO = "one", "two"
STOCK = {"VGPU": ClassInventory(total=4, max_unit=3)}


async def provider(world: StoreWorld, provider_id: str = ONE, *, parent: str | None = None) -> None:
    await world.do(ProviderCreate(provider_id=provider_id, name=f"n-{provider_id}", parent_id=parent))
    await world.do(ProviderSet(provider_id=provider_id, generation=0, inventories=STOCK))


def holds(consumer_id: str, *held: tuple[str, int], **changes: Any) -> ConsumerHolds:
    parts = tuple(Held(provider_id=key, resource_class="VGPU", used=used) for key, used in held)
    return ConsumerHolds(consumer_id=consumer_id, project_id="p", user_id="u", held=parts, **changes)


async def take(world: StoreWorld, *consumers: ConsumerHolds) -> None:
    await world.do(AllocationsSet(consumers=consumers))


async def rows(world: StoreWorld) -> dict[str, OutsideProvider]:
    found = await world.ask(GetProviderRows())
    return {each.provider_id: each for each in found.outside}


async def consumers(world: StoreWorld, **conditions: Any) -> dict[str, Consumer]:
    found = await world.ask(ListConsumers(**conditions))
    return {each.consumer_id: each for each in found}


async def test_a_provider_is_made_changed_and_unmade(world: StoreWorld) -> None:
    await provider(world)
    await world.do(TraitCreate(name="CUSTOM_A"))
    made = await world.do(
        ProviderSet(provider_id=ONE, traits=("CUSTOM_A", "CUSTOM_A"), aggregates=("b", "a"))
    )
    assert made.result == {"generation": 2}
    found = (await rows(world))[ONE]
    assert found.inventories == {"VGPU": Inventory(total=4, max_unit=3)}
    assert (found.traits, found.aggregates, found.generation) == (("CUSTOM_A",), ("a", "b"), 2)
    await world.do(ProviderUpdate(provider_id=ONE, name="other", parent_id=HOST_ID))
    found = (await rows(world))[ONE]
    assert (found.name, found.parent_id, found.generation) == ("other", HOST_ID, 3)
    await world.do(ProviderUpdate(provider_id=ONE, name="other", parent_id=HOST_ID))
    assert (await rows(world))[ONE].generation == 3  # nothing changed
    await world.do(ProviderDelete(provider_id=ONE))
    assert await rows(world) == {}
    await world.refuse(ProviderDelete(provider_id=ONE), "not_found")


async def test_names_ids_and_parents_are_checked(world: StoreWorld) -> None:
    await provider(world)
    for command in (
        ProviderCreate(provider_id=ONE, name="x"),
        ProviderCreate(provider_id=HOST_ID, name="x"),
        ProviderCreate(provider_id=TWO, name="n-one"),
        ProviderCreate(provider_id=TWO, name="host-a"),
    ):
        await world.refuse(command, "conflict", "already exists")
    await world.refuse(ProviderCreate(provider_id=TWO, name="x", parent_id="none"), "invalid", "not exist")
    await provider(world, TWO, parent=ONE)
    await world.refuse(ProviderUpdate(provider_id=ONE, name="n-one", parent_id=TWO), "invalid", "loop")
    await world.refuse(ProviderUpdate(provider_id=ONE, name="n-one", parent_id=ONE), "invalid", "loop")
    await world.refuse(ProviderUpdate(provider_id=ONE, name="n-two"), "conflict")
    await world.refuse(ProviderDelete(provider_id=ONE), "has_children")
    above = TWO
    for depth in range(3, 33):
        await world.do(ProviderCreate(provider_id=f"p{depth}", name=f"p{depth}", parent_id=above))
        above = f"p{depth}"
    await world.refuse(ProviderCreate(provider_id="deep", name="deep", parent_id=above), "invalid", "levels")


async def test_what_a_host_has_is_its_own_to_say(world: StoreWorld) -> None:
    for command in (
        ProviderSet(provider_id=HOST_ID, inventories={}),
        ProviderUpdate(provider_id=HOST_ID, name="x"),
        ProviderDelete(provider_id=HOST_ID),
        ProvidersReshape(stocks=(ProviderStock(provider_id=HOST_ID, generation=0),)),
        AllocationsSet(consumers=(holds("c", (HOST_ID, 1)),)),
    ):
        await world.refuse(command, "is_host", "is compute host host-a")
    server = await world.active("web")
    await provider(world)
    await world.refuse(AllocationsSet(consumers=(holds(server, (ONE, 1)),)), "is_server", "is a server")


async def test_a_provider_is_at_the_generation_its_writer_read(world: StoreWorld) -> None:
    await provider(world)
    await world.refuse(ProviderSet(provider_id=ONE, generation=0, inventories={}), "stale", "is at 1, not 0")
    await world.refuse(ProviderSet(provider_id=ONE, inventories={"CUSTOM_X": STOCK["VGPU"]}), "invalid")
    await world.refuse(ProviderSet(provider_id=ONE, traits=("CUSTOM_X",)), "invalid", "No such trait")
    too_much = {"VGPU": ClassInventory(total=1, reserved=2)}
    await world.refuse(ProviderSet(provider_id=ONE, inventories=too_much), "invalid", "Invalid inventory")


async def test_consumers_take_what_there_is(world: StoreWorld) -> None:
    await provider(world)
    await take(world, holds("c", (ONE, 3), consumer_type="CARD"))
    found = (await consumers(world))["c"]
    assert (found.allocations, found.generation, found.consumer_type) == ({ONE: {"VGPU": 3}}, 1, "CARD")
    assert (found.project_id, found.user_id, found.is_server) == ("p", "u", False)
    assert (await rows(world))[ONE].generation == 2  # what is left of it changed
    for amount, words in ((4, "violate inventory constraints"), (2, "exceed the capacity")):
        await world.refuse(AllocationsSet(consumers=(holds("d", (ONE, amount)),)), "no_capacity", words)
    await take(world, holds("d", (ONE, 1)))
    await take(world, holds("c", (ONE, 2)))  # instead of the three
    found = (await consumers(world))["c"]
    assert (found.allocations, found.generation, found.consumer_type) == ({ONE: {"VGPU": 2}}, 2, "CARD")
    assert (await world.ask(GetProviderRows(with_used=True))).used == {ONE: {"VGPU": 3}}
    await world.refuse(ProviderDelete(provider_id=ONE), "in_use")
    await world.refuse(ProviderSet(provider_id=ONE, inventories={}), "in_use", "'VGPU'")
    missing = AllocationsSet(consumers=(holds("d", ("none", 1)),))
    await world.refuse(missing, "not_found")
    other = Held(provider_id=ONE, resource_class="FPGA", used=1)
    unknown = ConsumerHolds(consumer_id="d", project_id="p", user_id="u", held=(other,))
    await world.refuse(AllocationsSet(consumers=(unknown,)), "no_capacity", "does not exist")
    assert set(await consumers(world, provider_id=ONE)) == {"c", "d"}
    assert set(await consumers(world, consumer_ids=("d", "e"))) == {"d"}
    assert await consumers(world, project_id="q") == await consumers(world, user_id="v") == {}
    await take(world, holds("c"), holds("d"))
    assert await consumers(world) == {}
    await world.do(ProviderDelete(provider_id=ONE))


async def test_a_consumer_is_at_the_generation_its_writer_read(world: StoreWorld) -> None:
    await provider(world)

    def checked(generation: int | None) -> AllocationsSet:
        return AllocationsSet(
            consumers=(holds("c", (ONE, 1), checks_generation=True, generation=generation),)
        )

    await world.refuse(checked(0), "stale", "expected null but got 0")
    await world.do(checked(None))
    await world.refuse(checked(None), "stale", "expected 1 but got null")
    await world.do(checked(1))
    assert (await consumers(world))["c"].generation == 2


async def test_things_change_hands_all_or_nothing(world: StoreWorld) -> None:
    await provider(world)
    await take(world, holds("c", (ONE, 3)), holds("d", (ONE, 1)))
    await world.refuse(AllocationsSet(consumers=(holds("c"), holds("d", (ONE, 4)))), "no_capacity")
    assert (await consumers(world))["c"].allocations == {ONE: {"VGPU": 3}}
    await take(world, holds("c", (ONE, 1)), holds("d", (ONE, 3)))
    assert (await consumers(world))["d"].allocations == {ONE: {"VGPU": 3}}


async def test_a_reshape_leaves_nothing_behind(world: StoreWorld) -> None:
    await provider(world)
    await world.do(ProviderCreate(provider_id=TWO, name="n-two", parent_id=ONE))
    await take(world, holds("c", (ONE, 2)))
    stocks = (
        ProviderStock(provider_id=ONE, generation=2),
        ProviderStock(provider_id=TWO, generation=0, inventories=STOCK),
    )
    await world.refuse(ProvidersReshape(stocks=stocks), "in_use")
    await world.do(ProvidersReshape(stocks=stocks, consumers=(holds("c", (TWO, 2)),)))
    found = await rows(world)
    assert (found[ONE].inventories, set(found[TWO].inventories)) == ({}, {"VGPU"})
    assert (await consumers(world))["c"].allocations == {TWO: {"VGPU": 2}}
    await world.refuse(ProvidersReshape(stocks=stocks), "stale")


async def test_names_in_use_stay(world: StoreWorld) -> None:
    await world.do(ResourceClassCreate(name="CUSTOM_A"))
    await world.refuse(ResourceClassCreate(name="CUSTOM_A"), "conflict")
    await world.refuse(ResourceClassCreate(name="VCPU"), "conflict")
    await world.do(ResourceClassRename(name="CUSTOM_A", to="CUSTOM_B"))
    await world.refuse(ResourceClassRename(name="CUSTOM_A", to="CUSTOM_C"), "not_found")
    await world.refuse(ResourceClassRename(name="VCPU", to="CUSTOM_C"), "invalid", "standard")
    assert [each.name for each in await world.ask(ListResourceClasses())] == ["CUSTOM_B"]
    assert (await world.do(TraitCreate(name="CUSTOM_T"))).result == {"created": True}
    assert (await world.do(TraitCreate(name="CUSTOM_T"))).result == {"created": False}
    await world.do(ProviderCreate(provider_id=ONE, name="n"))
    stock = {"CUSTOM_B": ClassInventory(total=1)}
    await world.do(ProviderSet(provider_id=ONE, inventories=stock, traits=("CUSTOM_T",)))
    await world.refuse(ResourceClassDelete(name="CUSTOM_B"), "in_use")
    await world.refuse(TraitDelete(name="CUSTOM_T"), "in_use")
    await world.refuse(TraitDelete(name="HW_CPU_X86_AVX"), "invalid", "standard")
    await world.do(ProviderSet(provider_id=ONE, inventories={}, traits=()))
    await world.do(ResourceClassDelete(name="CUSTOM_B"))
    await world.do(TraitDelete(name="CUSTOM_T"))
    await world.refuse(TraitDelete(name="CUSTOM_T"), "not_found")
    assert await world.ask(ListTraits()) == await world.ask(ListResourceClasses()) == ()

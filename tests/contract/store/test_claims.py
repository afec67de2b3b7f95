"""What servers hold whose extra specs say something else than their numbers, on both engines."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import select, text

from fabric.core.nodes.queries import ListHosts
from fabric.core.providers.queries import GetProviderRows
from fabric.store import tables as t
from fabric.store.claims import SAY_OTHERWISE
from fabric.store.query import answer
from fabric.store.query.level import is_at
from fabric.store.revisions import REVISIONS
from fabric.store.schema import create_schema
from fabric.store.tables import level2
from proto.commands.catalog import FlavorUpdate
from proto.commands.providers import ClassInventory, HostOffers
from proto.ids import FlavorId
from tests.fixtures.store_world import HOST_A, StoreWorld, flavor_create

A_ID = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
DEDICATED = {"hw:cpu_policy": "dedicated"}


async def flavor(world: StoreWorld, specs: dict[str, str], **sizes: int) -> dict[str, Any]:
    """A new flavor, as arguments of a server."""
    flavor_id = FlavorId(f"f-{world.clock.now_ms}-{len(specs)}-{sum(sizes.values())}-{hash(str(specs))}")
    await world.do(flavor_create(flavor_id, **sizes))
    await world.do(FlavorUpdate(flavor_id=flavor_id, extra_specs_set=specs))
    return {"flavor_id": flavor_id}


async def used(world: StoreWorld) -> dict[str, int]:
    """Of host a, by the scheduler's rows and by Placement's view, which are the same."""
    (usage,) = [each for each in await world.ask(ListHosts()) if each.host.host_id == HOST_A]
    own = {"VCPU": usage.vcpus_used, "MEMORY_MB": usage.memory_mb_used, "DISK_GB": usage.disk_gb_used}
    found = {name: amount for name, amount in {**own, **usage.others_used}.items() if amount}
    rows = await world.ask(GetProviderRows(with_used=True))
    assert rows.used.get(A_ID, {}) == found
    return found


async def test_dedicated_processors_are_no_shared_ones(world: StoreWorld) -> None:
    await world.do(HostOffers(host_id=HOST_A, inventories={"PCPU": ClassInventory(total=3)}))
    wants = await flavor(world, DEDICATED, vcpus=2)
    await world.active("one", **wants)
    await world.active("plain")
    assert await used(world) == {"PCPU": 2, "VCPU": 1, "MEMORY_MB": 1_024, "DISK_GB": 2}
    two = await world.server("two", **wants)
    await world.refuse(world.place(two), "no_capacity", "2 PCPU wanted, 1 of 3 free")


async def test_an_override_is_what_counts(world: StoreWorld) -> None:
    free = {"resources:VCPU": "0", "resources:MEMORY_MB": "64", "resources:DISK_GB": "0"}
    big = await flavor(world, free, vcpus=8, memory_mb=20_000, root_gb=999, swap_mb=5_000)
    for name in ("one", "two"):
        await world.active(name, **big)
    assert await used(world) == {"MEMORY_MB": 128}
    more = await flavor(world, {"resources:VCPU": "4", "resources1:VCPU": "1"})
    three = await world.server("three", **more)
    await world.refuse(world.place(three), "no_capacity", "5 vCPUs wanted, more than the 4 of the machine")


async def test_each_swap_disk_is_whole_gb(world: StoreWorld) -> None:
    wants = await flavor(world, {}, root_gb=0, swap_mb=1)
    for name in ("one", "two"):
        await world.active(name, **wants)
    assert (await used(world))["DISK_GB"] == 2


async def test_below_level_two_the_numbers_count(bare: StoreWorld) -> None:
    if bare.engine.level > 1:
        pytest.skip("a shared database is made at the newest level")
    await bare.init()
    await bare.active("one", **await flavor(bare, DEDICATED, vcpus=2))
    await bare.active("two", **await flavor(bare, {"resources:VCPU": "0"}))
    assert await used(bare) == {"PCPU": 2, "VCPU": 3, "MEMORY_MB": 1_024, "DISK_GB": 2}
    huge = await bare.server("three", **await flavor(bare, {"resources:MEMORY_MB": "0"}, memory_mb=20_000))
    await bare.refuse(bare.place(huge), "no_capacity", "20000 MB memory wanted, 11264 of 12288 free")


def test_servers_that_say_otherwise_have_an_index_of_their_own() -> None:
    asked = select(t.servers.c.extra_specs).where(t.servers.c.host_id == "h", SAY_OTHERWISE)
    with sqlalchemy.create_engine("sqlite://").begin() as connection:
        create_schema(connection)
        REVISIONS[level2.LEVEL].run(connection)
        sql = str(asked.compile(connection, compile_kwargs={"literal_binds": True}))
        plan = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {sql}"))]
        assert plan == ["SEARCH servers USING INDEX ix_servers_otherwise (host_id=?)"]
        assert not is_at(connection, level2.LEVEL)
        assert answer(connection, ListHosts()) == ()

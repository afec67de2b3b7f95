"""Host aggregates, and the zones that hosts are in by them, on both engines."""

from __future__ import annotations

import pytest

from fabric.core.aggregates.model import Aggregate
from fabric.core.aggregates.queries import GetAggregate, ListAggregates
from fabric.core.networks.queries import GetPort
from fabric.core.nodes.queries import ListHosts
from fabric.core.queries import Page
from fabric.core.servers.queries import GetAssignments, GetServer, ListServers, ServerFilter
from fabric.errors import CommandRejectedError
from proto.commands.aggregates import (
    AggregateAddHost,
    AggregateCreate,
    AggregateDelete,
    AggregateRemoveHost,
    AggregateSetMetadata,
    AggregateUpdate,
)
from proto.commands.nodes import JoinTokenCreate, NodeRemove
from proto.commands.servers import ServerRemoved
from proto.ids import NodeId, PortId, ServerId, TokenId
from tests.fixtures.store_world import HOST_A, HOST_B, StoreWorld, host_register, node_admit

NONE = 99


async def made(world: StoreWorld, name: str, zone: str | None = None, hosts: tuple[NodeId, ...] = ()) -> int:
    """The number of a new aggregate."""
    applied = await world.do(AggregateCreate(uuid=f"uuid-of-{name}", name=name, availability_zone=zone))
    number = applied.result["aggregate_id"]
    assert isinstance(number, int)
    for host_id in hosts:
        await world.do(AggregateAddHost(aggregate_id=number, host_id=host_id))
    return number


async def get(world: StoreWorld, number: int) -> Aggregate:
    found = await world.ask(GetAggregate(aggregate_id=number))
    assert found is not None
    return found


async def zones(world: StoreWorld) -> dict[str, str]:
    return {usage.host.name: usage.host.zone for usage in await world.ask(ListHosts())}


async def test_numbers_are_given_once_and_names_are_unique(world: StoreWorld) -> None:
    first, second = await made(world, "ssd"), await made(world, "north", "north")
    assert (first, second) == (1, 2)
    await world.do(AggregateDelete(aggregate_id=second))
    assert await made(world, "north", "north") == 3
    assert [each.name for each in await world.ask(ListAggregates())] == ["ssd", "north"]
    found = await get(world, 3)
    assert (found.uuid, found.availability_zone, found.host_ids) == ("uuid-of-north", "north", ())
    assert (found.created_ms, found.updated_ms) == (world.clock.now_ms, None)
    message = await world.refuse(AggregateCreate(uuid="u", name="ssd"), "conflict")
    assert message == "Aggregate ssd already exists."
    await world.refuse(AggregateCreate(uuid="uuid-of-ssd", name="other"), "conflict", "uuid-of-ssd")
    await world.refuse(AggregateUpdate(aggregate_id=3, name="ssd"), "conflict", "already exists")
    await world.do(AggregateUpdate(aggregate_id=3, name="north"))  # its own
    assert await world.ask(GetAggregate(aggregate_id=NONE)) is None


async def test_metadata_is_merged_and_keys_are_taken_away(world: StoreWorld) -> None:
    number = await made(world, "ssd")
    await world.do(AggregateSetMetadata(aggregate_id=number, changes={"ssd": "true", "rack": "1"}))
    world.clock.advance(5)
    await world.do(AggregateSetMetadata(aggregate_id=number, changes={"rack": "2"}, unset=("ssd", "none")))
    found = await get(world, number)
    assert (found.metadata, found.availability_zone) == ({"rack": "2"}, None)
    assert found.updated_ms == world.clock.now_ms
    await world.do(AggregateSetMetadata(aggregate_id=number, changes={"availability_zone": "north"}))
    found = await get(world, number)
    assert found.metadata == {"rack": "2", "availability_zone": "north"}
    await world.do(AggregateSetMetadata(aggregate_id=number, changes={"rack": "3"}))
    assert (await get(world, number)).availability_zone == "north"
    message = await world.refuse(
        AggregateSetMetadata(aggregate_id=number, unset=("availability_zone",)), "invalid"
    )
    assert message == (
        f"Cannot update metadata of aggregate {number}. Reason: Aggregate ssd does not support empty named "
        "availability zone."
    )


async def test_what_is_not_there(world: StoreWorld) -> None:
    number = await made(world, "ssd", hosts=(HOST_A,))
    for command in (
        AggregateUpdate(aggregate_id=NONE, name="x"),
        AggregateSetMetadata(aggregate_id=NONE),
        AggregateAddHost(aggregate_id=NONE, host_id=HOST_A),
        AggregateRemoveHost(aggregate_id=NONE, host_id=HOST_A),
        AggregateDelete(aggregate_id=NONE),
    ):
        assert await world.refuse(command, "not_found") == "Aggregate 99 could not be found."
    nobody = AggregateAddHost(aggregate_id=number, host_id=NodeId("none"))
    await world.refuse(nobody, "not_found", "Compute host none could not be found.")
    away = AggregateRemoveHost(aggregate_id=number, host_id=HOST_B)
    await world.refuse(away, "not_found", f"Aggregate {number} has no host host-b.")


async def test_hosts_come_and_go(world: StoreWorld) -> None:
    number = await made(world, "ssd", hosts=(HOST_B, HOST_A))
    assert (await get(world, number)).host_ids == (HOST_A, HOST_B)  # in the order in which they came
    message = await world.refuse(AggregateAddHost(aggregate_id=number, host_id=HOST_A), "conflict")
    assert message == f"Aggregate {number} already has host host-a."
    message = await world.refuse(AggregateDelete(aggregate_id=number), "invalid")
    assert message == f"Cannot remove host from aggregate {number}. Reason: Host aggregate is not empty."
    for host_id in (HOST_A, HOST_B):
        await world.do(AggregateRemoveHost(aggregate_id=number, host_id=host_id))
    await world.do(AggregateDelete(aggregate_id=number))
    assert await world.ask(ListAggregates()) == ()


async def test_a_host_that_leaves_the_fabric_leaves_its_aggregates(world: StoreWorld) -> None:
    number = await made(world, "ssd", "north", hosts=(HOST_A, HOST_B))
    far_ms = world.clock.now_ms + 1_000
    await world.do(JoinTokenCreate(token_id=TokenId("t"), secret_hash=b"h" * 32, expires_ms=far_ms))
    await world.do(node_admit(HOST_B, token_id=TokenId("t")))
    await world.do(NodeRemove(node_id=HOST_B))
    assert (await get(world, number)).host_ids == (HOST_A,)
    await world.do(host_register(HOST_B, "host-b"))  # the row of another life
    assert await zones(world) == {"host-a": "north", "host-b": "nova"}


class TestZones:
    async def test_an_aggregates_zone_counts_before_the_hosts_own(self, world: StoreWorld) -> None:
        await made(world, "ssd", hosts=(HOST_A, HOST_B))
        assert await zones(world) == {"host-a": "nova", "host-b": "nova"}
        await made(world, "north", "north", hosts=(HOST_A,))
        await made(world, "north-2", "north", hosts=(HOST_A,))  # the same once more is no other
        assert await zones(world) == {"host-a": "north", "host-b": "nova"}
        (one,) = await world.ask(ListHosts(host_id=HOST_A))
        assert one.host.zone == "north"

    async def test_servers_show_sort_and_are_found_by_it(self, world: StoreWorld) -> None:
        await made(world, "north", "north", hosts=(HOST_A,))
        await made(world, "apart", "apart", hosts=(HOST_B,))
        one, other = await world.active("one"), await world.active("other", HOST_B)
        view = await world.ask(GetServer(server_id=one))
        assert view is not None
        assert view.server.zone == "north"
        by_zone = Page(sort=(("availability_zone", "asc"),), limit=1)
        first = await world.ask(ListServers(page=by_zone))
        then = await world.ask(ListServers(page=Page(sort=by_zone.sort, marker=other)))
        assert [each.server.name for each in (*first, *then)] == ["other", "one"]
        found = await world.ask(ListServers(filter=ServerFilter(zone="north")))
        assert [each.server.server_id for each in found] == [one]
        assert await world.ask(ListServers(filter=ServerFilter(zone="nova"))) == ()
        (assigned,) = (await world.ask(GetAssignments(host_id=HOST_A))).servers
        assert assigned.server.zone == "north"
        port = await world.ask(GetPort(port_id=PortId("one-port")))
        assert port is not None
        assert port.device_owner == "compute:north"

    async def test_a_host_is_in_one_zone(self, world: StoreWorld) -> None:
        north = await made(world, "north", "north", hosts=(HOST_A,))
        south = await made(world, "south", "south", hosts=(HOST_B,))
        message = await world.refuse(AggregateAddHost(aggregate_id=south, host_id=HOST_A), "conflict")
        assert message == (
            f"Cannot add host to aggregate {south}. Reason: One or more hosts already in availability "
            "zone(s) north."
        )
        plain = await made(world, "ssd", hosts=(HOST_A,))
        for command, opening in (
            (AggregateUpdate(aggregate_id=plain, availability_zone="south"), "Cannot update aggregate"),
            (
                AggregateSetMetadata(aggregate_id=plain, changes={"availability_zone": "south"}),
                "Cannot update metadata of aggregate",
            ),
        ):
            message = await world.refuse(command, "invalid")
            assert message.startswith(f"{opening} {plain}. Reason: One or more hosts already in")
        await world.do(AggregateUpdate(aggregate_id=plain, availability_zone="north"))
        await world.do(AggregateRemoveHost(aggregate_id=plain, host_id=HOST_A))
        await world.do(AggregateUpdate(aggregate_id=north, availability_zone="west"))
        assert await zones(world) == {"host-a": "west", "host-b": "south"}

    async def test_no_server_changes_its_zone(self, world: StoreWorld) -> None:
        north = await made(world, "north", "north", hosts=(HOST_A,))
        south = await made(world, "south", "south")
        one, other = await world.active("one"), await world.active("other", HOST_B)
        for zone in (
            AggregateUpdate(aggregate_id=north, availability_zone="west"),
            AggregateSetMetadata(aggregate_id=north, changes={"availability_zone": "west"}),
        ):
            await world.refuse(zone, "invalid", "One or more hosts contain instances in this zone.")
        leaves = AggregateRemoveHost(aggregate_id=north, host_id=HOST_A)
        await world.refuse(leaves, "conflict", "would change from 'north' to 'nova'")
        joins = AggregateAddHost(aggregate_id=south, host_id=HOST_B)
        await world.refuse(
            joins, "conflict", "would change from 'nova' to 'south' but the host already has 1"
        )
        await world.do(AggregateSetMetadata(aggregate_id=north, changes={"availability_zone": "north"}))
        # What leaves all servers where they are is no change of zone.
        await made(world, "nova", "nova", hosts=(HOST_B,))
        again = await made(world, "north-2", "north", hosts=(HOST_A,))
        await world.do(leaves)
        await world.refuse(
            AggregateRemoveHost(aggregate_id=again, host_id=HOST_A), "conflict", "'north' to 'nova'"
        )
        for server_id, host_id in ((one, HOST_A), (other, HOST_B)):
            await world.do(world.act(server_id, "delete"))
            await world.do(ServerRemoved(server_id=server_id, host_id=host_id))
        await world.do(AggregateRemoveHost(aggregate_id=again, host_id=HOST_A))
        await world.do(AggregateUpdate(aggregate_id=south, availability_zone="west"))

    async def test_an_empty_zone_is_none(self, world: StoreWorld) -> None:
        number = await made(world, "ssd", "")
        assert (await get(world, number)).availability_zone is None
        update = AggregateUpdate(aggregate_id=number, availability_zone="")
        await world.refuse(update, "invalid", "does not support empty named availability zone")


async def test_below_level_2_there_are_none(bare: StoreWorld) -> None:
    if bare.engine.level != 1:
        pytest.skip("a new database of this engine is made at the newest level")
    await bare.init()
    assert await bare.ask(ListAggregates()) == ()
    assert await bare.ask(GetAggregate(aggregate_id=1)) is None
    with pytest.raises(CommandRejectedError, match="This needs level 2"):
        await made(bare, "ssd")
    server_id = await bare.active("one")
    view = await bare.ask(GetServer(server_id=ServerId(server_id)))
    assert view is not None
    assert (view.server.zone, await zones(bare)) == ("nova", {"host-a": "nova", "host-b": "nova"})
    await bare.do(bare.act(server_id, "delete"))
    await bare.do(ServerRemoved(server_id=server_id, host_id=HOST_A))

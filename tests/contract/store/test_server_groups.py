"""Server groups and hints, on both engines: made with a server, obeyed when it is placed, gone with it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

import pytest

from fabric.core.queries import Page
from fabric.core.server_groups.model import ServerGroup
from fabric.core.server_groups.queries import GetServerGroup, ListServerGroups
from fabric.core.servers.queries import GetServer, ListServers
from fabric.errors import CommandRejectedError
from proto.commands.identity import ProjectDelete
from proto.commands.quotas import QuotaSet
from proto.commands.server_groups import ServerGroupCreate, ServerGroupDelete
from proto.commands.servers import ServerCreateHinted, ServerExpire, ServerRemoved
from proto.ids import NodeId, ProjectId, ServerGroupId, ServerId
from tests.fixtures.hint_rows import hint_rows
from tests.fixtures.store_world import (
    ADMIN_PROJECT,
    DEADLINE_MS,
    HOST_A,
    HOST_B,
    PROJECT,
    USER,
    StoreWorld,
)


def group_create(group_id: str, policy: str = "anti-affinity", **changes: Any) -> ServerGroupCreate:
    fields: dict[str, Any] = {"project_id": PROJECT, "user_id": USER, "name": group_id, "policy": policy}
    return ServerGroupCreate(group_id=ServerGroupId(group_id), **fields | changes)


def hinted(world: StoreWorld, name: str, group: str | None = None, **changes: Any) -> ServerCreateHinted:
    plain = world.server_create(name)
    same = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    group_id = None if group is None else ServerGroupId(group)
    return ServerCreateHinted(**same | {"group_id": group_id} | changes)


async def member(world: StoreWorld, name: str, group: str) -> ServerId:
    await world.do(hinted(world, name, group))
    return ServerId(name)


async def get(world: StoreWorld, group_id: str) -> ServerGroup:
    found = await world.ask(GetServerGroup(group_id=ServerGroupId(group_id)))
    assert found is not None
    return found


async def test_made_listed_and_paged_by_number(world: StoreWorld) -> None:
    for number, project in enumerate((PROJECT, ADMIN_PROJECT, PROJECT, PROJECT)):
        world.clock.advance(1)
        await world.do(group_create(f"g{number}", project_id=project, max_server_per_host=2))
    mine = await world.ask(ListServerGroups(project_id=PROJECT))
    assert [group.group_id for group in mine] == ["g0", "g2", "g3"]
    assert (mine[0].policy, mine[0].max_server_per_host, mine[0].member_ids) == ("anti-affinity", 2, ())
    assert len(await world.ask(ListServerGroups())) == 4
    page = await world.ask(ListServerGroups(project_id=PROJECT, page=Page(limit=1), offset=1))
    assert [group.group_id for group in page] == ["g2"]
    after = await world.ask(ListServerGroups(page=Page(marker="g1")))
    assert [group.group_id for group in after] == ["g2", "g3"]
    assert await world.ask(GetServerGroup(group_id=ServerGroupId("none"))) is None


async def test_what_cannot_be_made(world: StoreWorld) -> None:
    await world.do(group_create("g"))
    await world.refuse(group_create("g"), "conflict", "Instance group g already exists.")
    await world.refuse(group_create("h", project_id=ProjectId("none")), "not_found")
    await world.refuse(group_create("h", "legacy"), "invalid", "no server group policy legacy")
    only = group_create("h", "soft-anti-affinity", max_server_per_host=2)
    await world.refuse(only, "invalid", "Only anti-affinity policy supports rules.")
    await world.refuse(group_create("h", max_server_per_host=0), "invalid", "1 or more")
    await world.refuse(ServerGroupDelete(group_id=ServerGroupId("h")), "not_found", "Instance group h could")


async def test_quotas_in_novas_words(world: StoreWorld) -> None:
    await world.do(QuotaSet(project_id=PROJECT, limits={"server_groups": 1, "server_group_members": 2}))
    await world.do(group_create("g"))
    message = await world.refuse(group_create("h"), "quota")
    assert message == "Quota exceeded, too many server groups."
    await world.do(group_create("h", project_id=ADMIN_PROJECT))
    for name in ("one", "two"):
        await member(world, name, "g")
    message = await world.refuse(hinted(world, "three", "g"), "quota")
    assert message == "Quota exceeded, too many servers in group"
    assert await world.ask(GetServer(server_id=ServerId("three"))) is None
    await world.do(world.act(ServerId("one"), "delete"))
    await member(world, "three", "g")


async def test_a_server_joins_as_it_is_made(world: StoreWorld) -> None:
    await world.do(group_create("g"))
    await world.do(group_create("theirs", project_id=ADMIN_PROJECT))
    for name in ("none", "theirs"):
        refused = hinted(world, "web", name)
        await world.refuse(refused, "invalid", f"Instance group {name} could not be found.")
    hints = {"different_host": ["a", "b"], "query": '["=","$host","x"]'}
    ports = (world.port("web-port"),)
    await world.do(hinted(world, "web", "g", hints=hints, new_ports=ports))
    await world.do(hinted(world, "plain", hints={"k": "v"}))
    assert (await get(world, "g")).member_ids == ("web",)
    view = await world.ask(GetServer(server_id=ServerId("web")))
    assert view is not None
    assert (view.server_group_id, view.ports[0].port_id) == ("g", "web-port")
    assert [each.server_group_id for each in await world.ask(ListServers())] == [None, None]
    assert hint_rows(world.engine) == {"web": hints, "plain": {"k": "v"}}


async def test_whatever_ends_a_server_takes_it_out(world: StoreWorld) -> None:
    await world.do(group_create("g"))
    for name in ("unplaced", "removed", "expired"):
        await world.do(hinted(world, name, "g", hints={"k": "v"}))
    await world.do(world.act(ServerId("unplaced"), "delete"))
    await world.do(world.place(ServerId("removed"), HOST_A))
    await world.do(world.act(ServerId("removed"), "delete"))
    await world.do(ServerRemoved(server_id=ServerId("removed"), host_id=HOST_A))
    await world.do(world.place(ServerId("expired"), HOST_B))
    await world.do(world.act(ServerId("expired"), "delete"))
    world.clock.advance(DEADLINE_MS)
    await world.do(ServerExpire(server_id=ServerId("expired"), generation=3, reason="late"))
    assert (await get(world, "g")).member_ids == ()
    assert hint_rows(world.engine) == {}


async def test_a_group_goes_and_its_servers_stay(world: StoreWorld) -> None:
    await world.do(group_create("g"))
    one, two = await member(world, "one", "g"), await member(world, "two", "g")
    await world.do(ServerGroupDelete(group_id=ServerGroupId("g")))
    assert await world.ask(ListServerGroups()) == ()
    view = await world.ask(GetServer(server_id=one))
    assert view is not None
    assert view.server_group_id is None
    for server_id in (one, two):  # nothing holds them apart any more
        await world.do(world.place(server_id, HOST_A))


async def test_a_projects_groups_go_with_it(world: StoreWorld) -> None:
    other = ProjectId("p-service")
    await world.do(group_create("mine"))
    await world.do(group_create("theirs", project_id=other))
    await world.do(ProjectDelete(project_id=other))
    assert [group.group_id for group in await world.ask(ListServerGroups())] == ["mine"]


class TestPlacement:
    async def test_two_of_an_anti_affinity_group_are_not_put_on_one_host(self, world: StoreWorld) -> None:
        await world.do(group_create("g"))
        one, two = await member(world, "one", "g"), await member(world, "two", "g")
        await world.do(world.place(one, HOST_A))
        message = await world.refuse(world.place(two, HOST_A), "policy_violated")
        assert message == (
            "Anti-affinity server group policy was violated: compute host host-a has 1 of 1 servers of "
            "group g."
        )
        await world.do(world.place(two, HOST_B))
        await world.do(world.place(await world.server("apart"), HOST_A))  # no member: nobody's affair

    async def test_of_two_placed_at_once_one_is_refused(self, world: StoreWorld) -> None:
        await world.do(group_create("g"))
        servers = [await member(world, name, "g") for name in ("one", "two")]
        placing = [world.do(world.place(server_id, HOST_A)) for server_id in servers]
        outcomes = await asyncio.gather(*placing, return_exceptions=True)
        (refused,) = (each for each in outcomes if isinstance(each, CommandRejectedError))
        assert refused.reason == "policy_violated"
        hosts = [view.server.host_id for view in await world.ask(ListServers())]
        assert set(hosts) == {None, HOST_A}

    async def test_as_many_on_a_host_as_the_rule_says(self, world: StoreWorld) -> None:
        await world.do(group_create("g", max_server_per_host=2))
        servers = [await member(world, name, "g") for name in ("one", "two", "three")]
        for server_id in servers[:2]:
            await world.do(world.place(server_id, HOST_A))
        await world.refuse(world.place(servers[2], HOST_A), "policy_violated", "2 of 2")
        await world.do(world.act(servers[0], "delete"))
        await world.refuse(world.place(servers[2], HOST_A), "policy_violated", "2 of 2")  # it is there yet
        await world.do(ServerRemoved(server_id=servers[0], host_id=HOST_A))
        await world.do(world.place(servers[2], HOST_A))

    async def test_an_affinity_group_follows_whoever_came_first(self, world: StoreWorld) -> None:
        await world.do(group_create("g", "affinity"))
        servers = [await member(world, name, "g") for name in ("one", "two", "three")]
        await world.do(world.place(servers[0], HOST_B))
        message = await world.refuse(world.place(servers[1], HOST_A), "policy_violated")
        assert message == (
            "Affinity server group policy was violated: compute host host-a has none of the 1 placed servers "
            "of group g."
        )
        for server_id in servers[1:]:
            await world.do(world.place(server_id, HOST_B))

    @pytest.mark.parametrize(
        ("policy", "second"), [("soft-affinity", HOST_B), ("soft-anti-affinity", HOST_A)]
    )
    async def test_soft_policies_are_wishes(self, world: StoreWorld, policy: str, second: NodeId) -> None:
        await world.do(group_create("g", policy))
        one, two = await member(world, "one", "g"), await member(world, "two", "g")
        await world.do(world.place(one, HOST_A))
        await world.do(world.place(two, second))


async def test_below_level_2_there_are_none(bare: StoreWorld) -> None:
    if bare.engine.level != 1:
        pytest.skip("a new database of this engine is made at the newest level")
    await bare.init()
    assert await bare.ask(ListServerGroups()) == ()
    assert await bare.ask(GetServerGroup(group_id=ServerGroupId("g"))) is None
    for command in (group_create("g"), hinted(bare, "web", hints={"k": "v"})):
        with pytest.raises(CommandRejectedError, match="This needs level 2"):
            await bare.do(command)
    server_id = await bare.active("web")
    view = await bare.ask(GetServer(server_id=server_id))
    assert view is not None
    assert view.server_group_id is None

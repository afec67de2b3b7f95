"""Several servers by one command: all or none, each like one that was made alone."""

from __future__ import annotations

import dataclasses
from typing import Any

from fabric.core.servers.queries import GetServer, ListServers
from proto.commands.networks import FixedIpChoice
from proto.commands.quotas import QuotaSet, QuotaSetOf
from proto.commands.server_groups import ServerGroupCreate
from proto.commands.servers import Alike, ServerCreateAlike
from proto.ids import ServerGroupId, ServerId
from tests.fixtures.store_world import PROJECT, SUBNET, USER, StoreWorld

NAMES = ("a", "b", "c")


def alike(world: StoreWorld, *names: str, ports: bool = True, **changes: Any) -> ServerCreateAlike:
    first, *others = names
    plain = world.server_create(first, new_ports=(world.port(f"{first}-port"),) if ports else ())
    same = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    rest = tuple(
        Alike(
            server_id=ServerId(name),
            name=name,
            hostname=f"{name}-host",
            new_ports=(world.port(f"{name}-port"),) if ports else (),
        )
        for name in others
    )
    return ServerCreateAlike(**same | {"others": rest} | changes)


async def made(world: StoreWorld) -> list[str]:
    return sorted(view.server.name for view in await world.ask(ListServers()))


async def test_each_is_like_the_first_but_for_what_is_its_own(world: StoreWorld) -> None:
    hints = {"different_host": ["x"]}
    await world.do(
        alike(world, *NAMES, metadata={"k": "v"}, tags=("t",), user_data=b"u", launch_index=4, hints=hints)
    )
    found = [await world.ask(GetServer(server_id=ServerId(name))) for name in NAMES]
    servers = [view.server for view in found if view is not None]
    assert [(one.name, one.hostname, one.launch_index) for one in servers] == [
        ("a", "a", 4),
        ("b", "b-host", 5),
        ("c", "c-host", 6),
    ]
    for one in servers:
        assert (dict(one.metadata), one.tags, one.vm_state.value) == ({"k": "v"}, ("t",), "building")
        assert one.flavor == servers[0].flavor


async def test_the_quota_holds_all_of_them_or_none_is_made(world: StoreWorld) -> None:
    await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 2}))
    words = "Quota exceeded for instances: Requested 3, but already used 0 of 2 instances"
    await world.refuse(alike(world, *NAMES), "quota", words)
    assert await made(world) == []
    await world.do(alike(world, "a", "b"))
    assert await made(world) == ["a", "b"]


async def test_so_do_the_users_and_that_of_ports(world: StoreWorld) -> None:
    await world.do(QuotaSetOf(project_id=PROJECT, user_id=USER, limits={"instances": 2}))
    await world.refuse(alike(world, *NAMES), "quota", "Requested 3, but already used 0 of 2")
    await world.do(QuotaSet(project_id=PROJECT, limits={"port": 1}))
    await world.refuse(alike(world, "a", "b"), "quota", "Maximum number of ports exceeded")
    await world.do(alike(world, "a", "b", ports=False))
    assert await made(world) == ["a", "b"]


async def test_what_the_last_cannot_have_none_has(world: StoreWorld) -> None:
    """An address or an id that is taken, a full group, and ports that only one could have."""
    await world.server("c", ports=())
    await world.refuse(alike(world, *NAMES), "conflict", "Instance c already exists")
    twice = (FixedIpChoice(SUBNET, "10.0.0.77"),)
    one, two = (world.port(f"port{number}", fixed_ips=twice) for number in (1, 2))
    command = alike(world, "a", "b", ports=False)
    other = dataclasses.replace(command.others[0], new_ports=(two,))
    await world.refuse(dataclasses.replace(command, new_ports=(one,), others=(other,)), "address_taken")
    await world.do(QuotaSet(project_id=PROJECT, limits={"server_group_members": 1}))
    group_id = ServerGroupId("g")
    await world.do(
        ServerGroupCreate(group_id=group_id, project_id=PROJECT, user_id=USER, name="g", policy="affinity")
    )
    await world.refuse(alike(world, "a", "b", group_id=group_id), "quota", "too many servers in group")
    port_id = world.port("p").port_id
    await world.refuse(alike(world, "a", "b", ports=False, existing_port_ids=(port_id,)), "invalid")
    assert await made(world) == ["c"]
    await world.do(alike(world, "a", group_id=group_id))

"""Lists of servers, pages, filters, and what a host is told, on both engines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from sqlalchemy import Engine, event

from fabric.core.networks.model import SecurityGroup
from fabric.core.placement.queries import GetPlacementRequest, ListPlacementRequests
from fabric.core.queries import BadFilterError, MarkerNotFoundError, Page
from fabric.core.servers.model import HostAssignments
from fabric.core.servers.queries import (
    GetAssignments,
    GetServer,
    ListOverdue,
    ListServers,
    ServerFilter,
)
from fabric.store.voter_engine import VoterEngine
from proto.codec import FRAME_BYTES_MAX, pack, unpack
from proto.commands.catalog import ImageDelete
from proto.commands.networks import (
    PortUpdate,
    SecurityGroupCreate,
    SecurityRuleSpec,
    SubnetUpdate,
)
from proto.commands.quotas import QuotaSet
from proto.commands.servers import ServerRemoved, ServerUpdate
from proto.ids import ImageId, PortId, SecurityGroupId, SecurityGroupRuleId, ServerId
from proto.records import from_wire, to_wire
from tests.fixtures.store_world import (
    ADMIN_PROJECT,
    DEADLINE_MS,
    GROUP,
    HOST_A,
    HOST_B,
    PROJECT,
    SUBNET,
    StoreWorld,
    image_activate,
    image_create,
    observed,
)


async def ids(world: StoreWorld, page: Page | None = None, **wanted: object) -> list[str]:
    query = ListServers(filter=ServerFilter(**wanted), page=page or Page())  # type: ignore[arg-type]
    return [view.server.server_id for view in await world.ask(query)]


@pytest.fixture
async def five(world: StoreWorld) -> StoreWorld:
    """a building, b active on host-a, c stopped on host-b, d in error, e another project's."""
    await world.server("a", name="web-1", tags=("x", "y"), key_name="k", zone="north")
    world.clock.advance(10)
    await world.active("b", name="web-2", tags=("x",), description="the second 100%")
    world.clock.advance(10)
    await world.active("c", HOST_B, name="db-1", reservation_id="r-1")
    await world.do(world.act(ServerId("c"), "stop"))
    await world.do(observed(ServerId("c"), 4, host_id=HOST_B, power_state="shutdown"))
    world.clock.advance(10)
    await world.active("d", name="db-2")
    await world.do(observed(ServerId("d"), None, fault_message="boom"))
    world.clock.advance(10)
    await world.server("e", ports=(), project_id=ADMIN_PROJECT, name="web-3", launch_index=7)
    return world


async def test_filters(five: StoreWorld) -> None:
    assert await ids(five) == ["e", "d", "c", "b", "a"]
    assert await ids(five, project_id=PROJECT) == ["d", "c", "b", "a"]
    for wanted, expected in (
        ({"name_regex": "web"}, "eba"),
        ({"name_regex": "^web-[12]$"}, "ba"),
        ({"statuses": ("ACTIVE",)}, "b"),
        ({"statuses": ("BUILD", "SHUTOFF")}, "eca"),
        ({"statuses": ("DELETED",)}, ""),
        ({"host_name": "host-a"}, "db"),
        ({"zone": "north"}, "a"),
        ({"zone": "nova"}, "dcb"),
        ({"tags_all": ("x",)}, "ba"),
        ({"tags_all": ("x", "y")}, "a"),
        ({"ip_regex": r"10\.0\.0\.10$"}, "a"),
        ({"key_name": "k"}, "a"),
        ({"vm_state": "error"}, "d"),
        ({"task_state": "scheduling"}, "ea"),
        ({"server_ids": (ServerId("a"), ServerId("e"))}, "ea"),
        ({"reservation_id": "r-1"}, "c"),
        ({"description": "100%"}, "b"),
        ({"description": "1%0"}, ""),
        ({"image_id": "other"}, ""),
        ({"locked": True}, ""),
        ({"user_id": "nobody"}, ""),
        ({"changed_since_ms": five.clock.now_ms}, "e"),
    ):
        assert await ids(five, **wanted) == list(expected), wanted


async def test_status_follows_the_task(five: StoreWorld) -> None:
    await five.do(five.act(ServerId("b"), "reboot_soft"))
    assert await ids(five, statuses=("REBOOT",)) == ["b"]
    assert await ids(five, statuses=("ACTIVE",)) == []


async def test_pages_neither_skip_nor_repeat(five: StoreWorld) -> None:
    for sort in (
        (),
        (("display_name", "asc"),),
        (("vm_state", "desc"), ("created_at", "asc")),
        (("host", "asc"),),
        (("launched_at", "desc"),),
        (("config_drive", "asc"), ("locked", "desc")),
        (("task_state", "asc"), ("display_name", "desc")),
    ):
        everything = await ids(five, Page(sort=sort))
        assert sorted(everything) == list("abcde")
        for limit in (1, 2):
            paged: list[str] = []
            while page := await ids(five, Page(limit=limit, marker=paged[-1] if paged else None, sort=sort)):
                assert len(page) <= limit
                paged += page
            assert paged == everything, sort
    assert await ids(five, Page(limit=0)) == []
    assert await ids(five, Page(limit=1), name_regex="db") == ["d"]
    assert await ids(five, Page(limit=1, marker="d"), name_regex="db") == ["c"]


async def test_markers_must_be_visible(five: StoreWorld) -> None:
    with pytest.raises(MarkerNotFoundError):
        await ids(five, Page(marker="none"))
    with pytest.raises(MarkerNotFoundError):
        await ids(five, Page(marker="e"), project_id=PROJECT)


@pytest.mark.parametrize("pattern", ["(", "*a", "[z-a]", "x" * 300, "(a+)+$", "(a|a)*b" * 40])
async def test_bad_patterns_are_the_callers_mistake(world: StoreWorld, pattern: str) -> None:
    with pytest.raises(BadFilterError):
        await ids(world, name_regex=pattern)


async def test_bad_sort_keys_are_the_callers_mistake(world: StoreWorld) -> None:
    for sort in (("admin_pass", "asc"), ("created_at", "up")):
        with pytest.raises(BadFilterError):
            await ids(world, Page(sort=(sort,)))


@contextmanager
def counted_statements(engine: Engine) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(_c: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_list_is_a_handful_of_statements_however_long(world: StoreWorld) -> None:
    await world.do(QuotaSet(project_id=PROJECT, limits={"instances": -1, "cores": -1, "ram": -1}))
    for number in range(60):
        await world.server(f"s{number}")
    engine = world.engine
    reads = engine._rows.engine if isinstance(engine, VoterEngine) else engine._database._snapshot  # type: ignore[attr-defined]
    with counted_statements(reads) as seen:
        assert len(await ids(world, project_id=PROJECT)) == 60
    assert len([statement for statement in seen if statement.startswith("SELECT")]) <= 6


async def test_the_schedulers_inbox(five: StoreWorld) -> None:
    assert [server.server_id for server in await five.ask(ListPlacementRequests())] == ["a", "e"]
    assert [server.server_id for server in await five.ask(ListPlacementRequests(limit=1))] == ["a"]


async def test_who_waits_says_the_contents_of_its_image(world: StoreWorld) -> None:
    await world.do(image_create(image_id="image-2"))
    await world.do(image_activate(image_id="image-2", sha256="ab" * 32))
    server_id = await world.server("web", image_id=ImageId("image-2"))
    (asked,) = await world.ask(ListPlacementRequests())
    assert asked.image_sha256 == "ab" * 32
    assert await world.ask(GetPlacementRequest(server_id=server_id)) == asked
    await world.do(ImageDelete(image_id=ImageId("image-2")))
    (asked,) = await world.ask(ListPlacementRequests())
    assert asked.image_sha256 == ""


async def test_the_reapers_inbox(five: StoreWorld) -> None:
    now = five.clock.now_ms + DEADLINE_MS
    assert [server.server_id for server in await five.ask(ListOverdue(now_ms=now))] == ["a", "e"]
    assert await five.ask(ListOverdue(now_ms=now - DEADLINE_MS)) == ()


async def assignments(world: StoreWorld, since: int = 0, **changes: int) -> HostAssignments:
    return await world.ask(GetAssignments(host_id=HOST_A, since_index=since, **changes))


async def test_a_host_is_told_all_it_needs(world: StoreWorld) -> None:
    await world.do(image_create("kernel", disk_format="aki"))
    await world.do(image_activate("kernel", sha256="k2"))
    properties = {"kernel_id": "kernel", "ramdisk_id": "gone", "os_command_line": "quiet"}
    await world.do(image_create("i2", properties=properties, min_disk_gb=3))
    await world.do(image_activate("i2", sha256="i2"))
    other = SecurityGroupId("g2")
    rule = SecurityRuleSpec(rule_id=SecurityGroupRuleId("r1"), direction="ingress", remote_group_id=GROUP)
    await world.do(SecurityGroupCreate(security_group_id=other, project_id=PROJECT, name="g2", rules=(rule,)))
    await world.server("elsewhere")
    port = world.port("p1", security_group_ids=(other,))
    await world.active("web", ports=(port,), image_id=ImageId("i2"), admin_pass="secret")
    told = await assignments(world)
    assert told.server_ids == ("web",)
    (one,) = told.servers
    assert one.server == (await world.ask(GetServer(server_id=ServerId("web")))).server  # type: ignore[union-attr]
    assert [made.port_id for made in one.ports] == ["p1"]
    (network,) = one.networks
    assert [subnet.subnet_id for subnet in network.subnets] == [SUBNET]
    assert one.image is not None
    assert (one.image.sha256, one.image.min_disk_gb) == ("i2", 3)
    assert one.kernel is not None
    assert (one.kernel.sha256, one.ramdisk, one.kernel_args) == ("k2", None, "quiet")
    groups: tuple[SecurityGroup, ...] = told.security_groups
    assert [group.security_group_id for group in groups] == [other]
    assert dict(told.group_addresses) == {GROUP: ("10.0.0.10",)}  # of the server elsewhere
    assert (told.more, told.next_since) == (False, told.applied_index)
    assert from_wire(HostAssignments, unpack(pack(to_wire(told)))) == told
    await world.do(ImageDelete(image_id=ImageId("i2")))
    assert (await assignments(world)).servers[0].image is None


async def test_only_what_changed_is_sent_again(world: StoreWorld) -> None:
    await world.active("one")
    await world.active("two")
    since = (await assignments(world)).next_since
    assert (await assignments(world, since)).servers == ()
    for command, changed in (
        (ServerUpdate(server_id=ServerId("one"), name="new"), {"one"}),
        (PortUpdate(port_id=PortId("two-port"), name="new"), {"two"}),
        (SubnetUpdate(subnet_id=SUBNET, dns_nameservers=("9.9.9.9",)), {"one", "two"}),
        (world.act(ServerId("two"), "stop"), {"two"}),
    ):
        await world.do(command)
        told = await assignments(world, since)
        assert {one.server.server_id for one in told.servers} == changed
        assert told.server_ids == ("one", "two")
        since = told.next_since
    await world.do(world.act(ServerId("one"), "delete"))
    await world.do(ServerRemoved(server_id=ServerId("one"), host_id=HOST_A))
    assert (await assignments(world, since)).server_ids == ("two",)


async def test_a_long_answer_is_cut_and_goes_on(world: StoreWorld) -> None:
    for number in range(6):
        await world.active(f"s{number}", user_data=bytes(20_000))
    found: list[str] = []
    since, answers, more = 0, 0, True
    while more:
        told = await assignments(world, since, bytes_max=64_000)
        assert len(pack(to_wire(told))) < FRAME_BYTES_MAX
        assert len(told.server_ids) == 6
        found += [one.server.server_id for one in told.servers]
        assert told.servers  # progress, always
        since, more, answers = told.next_since, told.more, answers + 1
    assert sorted(found) == [f"s{number}" for number in range(6)]
    assert answers >= 3
    tiny = await assignments(world, bytes_max=1)
    assert len(tiny.servers) == 1


async def test_servers_changed_by_one_entry_stay_together(world: StoreWorld) -> None:
    for number in range(4):
        await world.active(f"s{number}", user_data=bytes(20_000))
    await world.do(SubnetUpdate(subnet_id=SUBNET, dns_nameservers=("9.9.9.9",)))  # one index for all
    told = await assignments(world, bytes_max=30_000)
    assert len(told.servers) == 4
    assert (await assignments(world, told.next_since)).servers == ()


async def test_an_empty_host(world: StoreWorld) -> None:
    told = await world.ask(GetAssignments(host_id=HOST_B))
    assert (told.server_ids, told.servers, told.more, told.security_groups) == ((), (), False, ())
    assert replace(told, applied_index=0, next_since=0).group_addresses == {}

"""Nodes, hosts, tokens and role grants, accepted and each way rejected, on both engines."""

from __future__ import annotations

from typing import Any

from fabric.core.nodes.queries import (
    GetJoinToken,
    GetNode,
    ListHosts,
    ListJoinTokens,
    ListNodes,
    ListRemovedNodes,
    ListRoleGrants,
    ListVoterWishes,
)
from fabric.core.placement.queries import ListPlacementRequests
from fabric.core.servers.queries import GetAssignments, GetServer
from proto.commands.moves import MoveBegin
from proto.commands.nodes import (
    HostUpdate,
    JoinTokenCreate,
    JoinTokenRevoke,
    NodeRemove,
    NodeRename,
    NodeRenew,
    RoleHold,
    VoterWish,
)
from proto.commands.providers import ProviderCreate
from proto.commands.shelving import ServerShelve, ServerShelved, ServerUnshelve
from proto.ids import ImageId, NodeId, RequestId, TokenId, new_uuid
from tests.fixtures.store_world import (
    HOST_A,
    HOST_B,
    NODE,
    USER,
    StoreWorld,
    fabric_init,
    host_register,
    node_admit,
    observed,
)

TOKEN = TokenId("token-1")


def token(world: StoreWorld, uses: int = 1) -> JoinTokenCreate:
    return JoinTokenCreate(
        token_id=TOKEN,
        secret_hash=b"h",
        expires_ms=world.clock.now_ms + 1_000,
        uses=uses,
        door_public=b"d",
    )


async def test_the_founder_needs_no_token_and_others_do(bare: StoreWorld) -> None:
    await bare.refuse(node_admit(), "forbidden", "founding node")
    await bare.do(fabric_init())
    await bare.refuse(node_admit("c" * 32), "forbidden", "founding node")
    assert (await bare.do(node_admit())).result == {"admitted": True}


async def test_a_token_admits_as_often_as_it_says(world: StoreWorld) -> None:
    await world.refuse(token(world, uses=0), "invalid")
    await world.do(token(world, uses=2))
    await world.refuse(token(world), "conflict", "already exists")
    one = node_admit("c" * 32, token_id=TOKEN)
    await world.do(one)
    assert (await world.do(one)).result == {"admitted": False}  # the same node again takes no use
    found = await world.ask(GetJoinToken(token_id=TOKEN))
    assert found is not None
    assert found.uses_left == 1
    await world.do(node_admit("d" * 32, token_id=TOKEN))
    await world.refuse(node_admit("e" * 32, token_id=TOKEN), "not_found", "used up")
    await world.refuse(node_admit("e" * 32, token_id=TokenId("none")), "not_found", "unknown")
    assert {node.node_id for node in await world.ask(ListNodes())} == {NODE, "c" * 32, "d" * 32}


async def test_tokens_expire_and_say_so_for_a_day(world: StoreWorld) -> None:
    await world.do(token(world))
    world.clock.advance(1_000)
    await world.refuse(node_admit("c" * 32, token_id=TOKEN), "expired", "has expired")
    world.clock.advance(25 * 3_600_000)
    other = JoinTokenCreate(token_id=TokenId("t2"), secret_hash=b"h", expires_ms=world.clock.now_ms + 1)
    await world.do(other)
    assert await world.ask(GetJoinToken(token_id=TOKEN)) is None


async def test_names_and_keys_are_unique(world: StoreWorld) -> None:
    await world.do(token(world, uses=9))
    name = node_admit().name
    await world.refuse(node_admit("c" * 32, token_id=TOKEN, name=name), "conflict", f"named {name}")
    key = node_admit().curve_public
    await world.refuse(node_admit("c" * 32, token_id=TOKEN, curve_public=key), "conflict", "this key")
    await world.refuse(node_admit(NODE, curve_public=b"other"), "conflict", "another key")
    found = await world.ask(GetJoinToken(token_id=TOKEN))
    assert found is not None
    assert found.uses_left == 9


def renew(generation: int, certificate: bytes, **changes: Any) -> NodeRenew:
    fields: dict[str, Any] = {"node_id": NODE, "curve_public": node_admit().curve_public}
    return NodeRenew(**fields | {"certificate": certificate, "generation": generation} | changes)


async def test_a_revoked_token_admits_nobody(world: StoreWorld) -> None:
    await world.do(token(world, uses=9))
    assert [(made.token_id, made.door_public) for made in await world.ask(ListJoinTokens())] == [
        (TOKEN, b"d")
    ]
    await world.do(JoinTokenRevoke(token_id=TOKEN))
    await world.refuse(node_admit("c" * 32, token_id=TOKEN), "not_found", "unknown")
    await world.refuse(JoinTokenRevoke(token_id=TOKEN), "not_found")
    assert await world.ask(ListJoinTokens()) == ()


async def test_a_newer_certificate_replaces_the_older_and_never_the_reverse(world: StoreWorld) -> None:
    await world.do(renew(2, b"c2"))
    await world.do(renew(2, b"c2"))  # a lost answer, asked again
    await world.refuse(renew(2, b"other"), "stale")
    await world.refuse(renew(1, b"old"), "stale")
    await world.refuse(node_admit(), "stale")  # a join decided before the renewal
    await world.refuse(renew(3, b"c3", node_id=NodeId("f" * 32)), "not_found", "not a member")
    node = await world.ask(GetNode(node_id=NODE))
    assert node is not None
    assert (node.certificate, node.generation, node.body) == (b"c2", 2, b"")


def rename(name: str, generation: int = 2, node_id: NodeId = HOST_A, **changes: Any) -> NodeRename:
    fields: dict[str, Any] = {"certificate": f"of {name}".encode(), "body": b"state", "signature": b"signed"}
    return NodeRename(**fields | {"node_id": node_id, "name": name, "generation": generation} | changes)


async def admitted_hosts(world: StoreWorld) -> None:
    await world.do(token(world, uses=9))
    for host_id, name in ((HOST_A, "host-a"), (HOST_B, "host-b")):
        await world.do(node_admit(host_id, token_id=TOKEN, name=name))


async def test_a_renamed_node_is_the_same_host_with_the_same_servers(world: StoreWorld) -> None:
    await admitted_hosts(world)
    server_id = await world.active("web")
    waits = await world.server("waits", host_name="host-a")
    elsewhere = await world.server("elsewhere", host_name="host-b")
    before = {usage.host.host_id: usage.host.number for usage in await world.ask(ListHosts())}
    assert (await world.do(rename("other"))).result == {"was": "host-a"}
    assert (await world.do(rename("other"))).result == {"was": "other"}  # a lost answer, asked again
    hosts = {usage.host.host_id: usage.host for usage in await world.ask(ListHosts())}
    assert {host_id: host.number for host_id, host in hosts.items()} == before
    assert (hosts[HOST_A].name, hosts[HOST_B].name) == ("other", "host-b")
    node = await world.ask(GetNode(node_id=HOST_A))
    assert node is not None
    assert (node.name, node.generation, node.body) == ("other", 2, b"state")
    view = await world.ask(GetServer(server_id=server_id))
    assert view is not None
    assert (view.server.host_name, view.server.host_id) == ("other", HOST_A)
    wanted = {request.server_id: request.host_name for request in await world.ask(ListPlacementRequests())}
    assert (wanted[waits], wanted[elsewhere]) == ("other", "host-b")
    await world.do(host_register(HOST_A, "other"))  # its next life, and no second host
    assert len(await world.ask(ListHosts())) == len(before)


async def test_what_waits_for_a_renamed_host_waits_for_it_by_its_new_name(world: StoreWorld) -> None:
    await admitted_hosts(world)
    moves, shelved = await world.active("moves"), await world.active("shelved")
    by = {"user_id": USER, "request_id": RequestId("r"), "deadline_ms": world.clock.now_ms + 9_000}
    begin = MoveBegin(
        move_id=new_uuid(),
        server_id=moves,
        kind="migration",
        source_host_id=HOST_A,
        host_name="host-b",
        arrive_ms=1,
        **by,
    )
    await world.do(begin)
    shelf = ImageId("shelf-1")
    await world.do(ServerShelve(server_id=shelved, image_id=shelf, **by))

    async def generation() -> int:
        view = await world.ask(GetServer(server_id=shelved))
        assert view is not None
        return view.server.action_generation

    await world.do(observed(shelved, await generation(), power_state="shutdown"))
    sums = {"md5": "5" * 32, "sha256": "e" * 64, "sha512": "1" * 128}
    saved = {"server_id": shelved, "host_id": HOST_A, "size_bytes": 7, "virtual_bytes": 1 << 20}
    await world.do(ServerShelved(generation=await generation(), **saved, **sums))
    unshelve = {"request_id": RequestId("u"), "deadline_ms": world.clock.now_ms + 9_000}
    await world.do(ServerUnshelve(server_id=shelved, host_name="host-b", **unshelve))
    await world.do(rename("far", node_id=HOST_B))
    wanted = {request.server_id: request.host_name for request in await world.ask(ListPlacementRequests())}
    assert wanted == {moves: "far", shelved: "far"}


async def test_a_name_that_is_taken_is_refused(world: StoreWorld) -> None:
    await admitted_hosts(world)
    await world.do(ProviderCreate(provider_id="e" * 8, name="shelf", parent_id=None))
    await world.refuse(rename("host-b"), "conflict", "Another node is already named host-b")
    await world.do(host_register("9" * 32, "lone"))
    await world.refuse(rename("lone"), "conflict", "Another host")
    await world.refuse(rename("shelf"), "conflict", "Another resource provider")
    await world.refuse(rename("free", generation=1), "stale")
    await world.refuse(rename("free", node_id=NodeId("f" * 32)), "not_found", "not a member")
    hosts = {usage.host.host_id: usage.host.name for usage in await world.ask(ListHosts())}
    assert hosts[HOST_A] == "host-a"


async def test_keys_are_rotated_to_ones_nobody_has(world: StoreWorld) -> None:
    await world.do(token(world, uses=9))
    await world.do(node_admit(HOST_B, token_id=TOKEN))
    taken = node_admit(HOST_B).curve_public
    await world.refuse(renew(2, b"c2", curve_public=taken), "conflict", "this key")
    await world.do(renew(2, b"c2", curve_public=b"new", body=b"state", signature=b"signed"))
    node = await world.ask(GetNode(node_id=NODE))
    assert node is not None
    assert (node.curve_public, node.body, node.signature) == (b"new", b"state", b"signed")
    await world.refuse(node_admit(), "conflict", "another key")  # the old key is nobody's way back
    await world.do(NodeRemove(node_id=HOST_B))
    await world.refuse(renew(3, b"c3", curve_public=taken), "conflict", "this key")  # a removed node's
    assert await world.ask(GetNode(node_id=HOST_B)) is None


async def test_a_removed_node_never_comes_back_under_its_id_or_key(world: StoreWorld) -> None:
    await world.do(token(world, uses=9))
    admitted = node_admit("c" * 32, token_id=TOKEN)
    await world.do(admitted)
    await world.do(NodeRemove(node_id=admitted.node_id, removal_body=b"gone", removal_signature=b"root"))
    await world.refuse(admitted, "forbidden", "makes new keys")
    same_key = node_admit("d" * 32, token_id=TOKEN, curve_public=admitted.curve_public)
    await world.refuse(same_key, "forbidden", "new keys")
    (removed,) = await world.ask(ListRemovedNodes())
    assert (removed.node_id, removed.name) == (admitted.node_id, admitted.name)
    assert (removed.removal_body, removed.removal_signature) == (b"gone", b"root")
    await world.do(node_admit("d" * 32, token_id=TOKEN, name=admitted.name))  # its name is free again
    await world.refuse(NodeRemove(node_id=admitted.node_id), "not_found")


async def test_hosts_register_again_and_keep_their_number(world: StoreWorld) -> None:
    first = {usage.host.host_id: usage.host for usage in await world.ask(ListHosts())}
    assert {host.number for host in first.values()} == {1, 2}
    await world.do(HostUpdate(host_id=HOST_B, enabled=False, disabled_reason="disk"))
    world.clock.advance(10)
    await world.do(host_register(HOST_B, "host-b", memory_mb=1_024))
    await world.do(host_register(HOST_B, "host-b", memory_mb=1_024))
    (usage,) = await world.ask(ListHosts(host_id=HOST_B))
    host = usage.host
    assert (host.number, host.memory_mb, host.enabled, host.disabled_reason) == (2, 1_024, False, "disk")
    assert host.created_ms == first[HOST_B].created_ms
    await world.refuse(host_register("c" * 32, "host-b"), "conflict", "host-b")
    await world.do(HostUpdate(host_id=HOST_B, enabled=True, forced_down=True))
    (usage,) = await world.ask(ListHosts(host_id=HOST_B))
    assert (usage.host.enabled, usage.host.disabled_reason, usage.host.forced_down) == (True, None, True)
    await world.refuse(HostUpdate(host_id=NodeId("none"), enabled=True), "not_found")


async def test_a_host_sees_that_it_is_drained(world: StoreWorld) -> None:
    assert (await world.ask(GetAssignments(host_id=HOST_B))).is_enabled
    await world.do(HostUpdate(host_id=HOST_B, enabled=False, disabled_reason="disk"))
    drained = await world.ask(GetAssignments(host_id=HOST_B))
    assert (drained.is_enabled, drained.disabled_reason) == (False, "disk")
    assert (await world.ask(GetAssignments(host_id=HOST_A))).is_enabled
    assert (await world.ask(GetAssignments(host_id=NodeId("f" * 32)))).is_enabled  # not registered yet


async def test_host_numbers_are_never_given_twice(world: StoreWorld) -> None:
    await world.do(token(world))
    await world.do(node_admit(HOST_B, token_id=TOKEN))
    await world.do(NodeRemove(node_id=HOST_B))
    assert (await world.do(host_register("c" * 32, "host-c"))).result == {"number": 3}


async def test_removing_a_node(world: StoreWorld) -> None:
    await world.refuse(NodeRemove(node_id=NodeId("none")), "not_found")
    await world.active("web")
    await world.refuse(NodeRemove(node_id=HOST_A), "in_use", "still has servers")
    await world.do(token(world))
    await world.do(node_admit(HOST_B, token_id=TOKEN))
    await world.do(RoleHold(role="api", node_id=HOST_B))
    await world.do(NodeRemove(node_id=HOST_B))
    assert [usage.host.host_id for usage in await world.ask(ListHosts())] == [HOST_A]
    assert [grant.role for grant in await world.ask(ListRoleGrants())] == ["scheduler"]


async def test_usage_is_summed_over_servers(world: StoreWorld) -> None:
    await world.active("one")
    await world.active("two")
    (usage,) = await world.ask(ListHosts(host_id=HOST_A))
    assert (usage.vcpus_used, usage.memory_mb_used, usage.disk_gb_used, usage.servers) == (2, 1_024, 2, 2)


async def test_each_grant_has_a_higher_fence(world: StoreWorld) -> None:
    one = await world.do(RoleHold(role="conductor", node_id=HOST_A))
    two = await world.do(RoleHold(role="conductor", node_id=HOST_B))
    assert one.result == {"fence": one.index}
    grants = {grant.role: grant for grant in await world.ask(ListRoleGrants())}
    assert (grants["conductor"].node_id, grants["conductor"].fence) == (HOST_B, two.index)
    assert two.index > one.index
    await world.refuse(RoleHold(role="", node_id=HOST_A), "invalid")


async def test_the_last_wish_of_a_voter_counts(world: StoreWorld) -> None:
    async def wishes() -> dict[NodeId, str]:
        return {row.node_id: row.wish for row in await world.ask(ListVoterWishes())}

    await world.do(token(world))
    other = NodeId("c" * 32)
    await world.do(node_admit(other, token_id=TOKEN))
    await world.do(VoterWish(node_id=NODE, wish="wanted"))
    await world.do(VoterWish(node_id=other, wish="wanted"))
    await world.do(VoterWish(node_id=NODE, wish="unwanted"))
    assert await wishes() == {NODE: "unwanted", other: "wanted"}
    await world.do(VoterWish(node_id=NODE, wish=""))
    await world.do(VoterWish(node_id=NODE, wish=""))
    assert await wishes() == {other: "wanted"}


async def test_a_wish_is_one_of_three_and_of_a_member(world: StoreWorld) -> None:
    await world.refuse(VoterWish(node_id=NODE, wish="sometimes"), "invalid", "wanted, unwanted or empty")
    await world.refuse(VoterWish(node_id=NodeId("f" * 32), wish="wanted"), "not_found", "could not be found")
    assert await world.ask(ListVoterWishes()) == ()


async def test_the_wish_goes_with_the_node(world: StoreWorld) -> None:
    await world.do(token(world))
    other = NodeId("c" * 32)
    await world.do(node_admit(other, token_id=TOKEN))
    await world.do(VoterWish(node_id=other, wish="wanted"))
    await world.do(NodeRemove(node_id=other))
    assert await world.ask(ListVoterWishes()) == ()

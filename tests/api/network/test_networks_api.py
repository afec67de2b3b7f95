"""Networks, subnets and discovery of Network v2.0 as clients see them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from proto.commands import Command
from proto.commands.aggregates import AggregateAddHost, AggregateCreate
from proto.ids import NodeId, new_request_id, new_uuid
from tests.api.api_world import Answer, Person, World
from tests.fixtures.store_world import host_register

NET = "/network/v2.0/networks"
SUBNETS = "/network/v2.0/subnets"


async def make_network(person: Person, **attributes: Any) -> dict[str, Any]:
    answer = await person.post(NET, {"network": {"name": "net", **attributes}})
    assert answer.status == 201, answer.data
    network: dict[str, Any] = answer.json["network"]
    return network


async def make_subnet(
    person: Person, network_id: str, cidr: str = "10.0.0.0/24", **more: Any
) -> dict[str, Any]:
    body = {"network_id": network_id, "cidr": cidr, "ip_version": 4, **more}
    answer = await person.post(SUBNETS, {"subnet": body})
    assert answer.status == 201, answer.data
    subnet: dict[str, Any] = answer.json["subnet"]
    return subnet


def fault(answer: Answer, status: int, type_name: str) -> str:
    assert answer.status == status, answer.data
    error = answer.json["NeutronError"]
    assert error["type"] == type_name, error
    assert set(error) == {"type", "message", "detail"}
    message: str = error["message"]
    return message


async def listed(person: Person, path: str) -> list[dict[str, Any]]:
    answer = await person.get(path)
    assert answer.status == 200, answer.data
    found: list[dict[str, Any]] = next(
        value for key, value in answer.json.items() if not key.endswith("_links")
    )
    return found


async def test_a_network_lives(world: World) -> None:
    network = await make_network(world.alice, description="d", mtu="1400")
    assert network["status"] == "ACTIVE"
    assert network["project_id"] == network["tenant_id"] == world.alice.project_id
    assert (network["mtu"], network["shared"], network["router:external"]) == (1400, False, False)
    assert (network["subnets"], network["tags"]) == ([], [])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", network["created_at"])
    assert "provider:network_type" not in network

    changed = await world.alice.put(
        f"{NET}/{network['id']}", {"network": {"name": "new", "admin_state_up": False}}
    )
    assert changed.status == 200
    assert (changed.json["network"]["name"], changed.json["network"]["status"]) == ("new", "DOWN")
    assert changed.json["network"]["revision_number"] > network["revision_number"]
    assert (await world.alice.delete(f"{NET}/{network['id']}")).status == 204
    fault(await world.alice.get(f"{NET}/{network['id']}"), 404, "NetworkNotFound")
    fault(await world.alice.delete(f"{NET}/{network['id']}"), 404, "NetworkNotFound")


async def test_provider_networks_are_the_admins(world: World) -> None:
    provider = {"provider:network_type": "flat", "provider:physical_network": "physnet1"}
    fault(await world.alice.post(NET, {"network": provider}), 403, "PolicyNotAuthorized")
    network = await make_network(world.admin, **provider, shared=True)
    assert network["provider:network_type"] == "flat"
    assert network["provider:physical_network"] == "physnet1"
    local = await make_network(world.admin)
    assert local["provider:network_type"] == "local"
    for attributes in ({"provider:network_type": "vlan"}, {"provider:network_type": "flat"}):
        fault(await world.admin.post(NET, {"network": attributes}), 400, "InvalidInput")


@pytest.mark.parametrize("attributes", [{"shared": True}, {"router:external": True}])
async def test_sharing_is_the_admins(world: World, attributes: dict[str, Any]) -> None:
    fault(await world.alice.post(NET, {"network": attributes}), 403, "PolicyNotAuthorized")
    network = await make_network(world.alice)
    fault(
        await world.alice.put(f"{NET}/{network['id']}", {"network": attributes}), 403, "PolicyNotAuthorized"
    )
    shared = await make_network(world.admin, **attributes)
    assert shared["id"] in [one["id"] for one in await listed(world.bob, NET)]
    assert (await world.bob.get(f"{NET}/{shared['id']}")).status == 200
    fault(await world.bob.delete(f"{NET}/{shared['id']}"), 403, "PolicyNotAuthorized")
    body = {"subnet": {"network_id": shared["id"], "cidr": "10.0.0.0/24", "ip_version": 4}}
    fault(await world.bob.post(SUBNETS, body), 403, "PolicyNotAuthorized")


async def test_other_projects_see_nothing(world: World) -> None:
    network = await make_network(world.alice)
    subnet = await make_subnet(world.alice, network["id"])
    fault(await world.bob.get(f"{NET}/{network['id']}"), 404, "NetworkNotFound")
    fault(await world.bob.put(f"{NET}/{network['id']}", {"network": {"name": "x"}}), 404, "NetworkNotFound")
    fault(await world.bob.delete(f"{NET}/{network['id']}"), 404, "NetworkNotFound")
    fault(await world.bob.get(f"{SUBNETS}/{subnet['id']}"), 404, "SubnetNotFound")
    fault(await world.bob.delete(f"{SUBNETS}/{subnet['id']}"), 404, "SubnetNotFound")
    assert await listed(world.bob, NET) == []
    assert await listed(world.bob, SUBNETS) == []
    assert len(await listed(world.admin, NET)) == 1


async def test_readers_read_only(world: World) -> None:
    network = await make_network(world.alice)
    assert (await world.reader.get(f"{NET}/{network['id']}")).status == 200
    fault(await world.reader.post(NET, {"network": {}}), 403, "PolicyNotAuthorized")
    fault(await world.reader.delete(f"{NET}/{network['id']}"), 403, "PolicyNotAuthorized")


async def test_bulk_is_all_or_none(world: World) -> None:
    both = await world.alice.post(NET, {"networks": [{"name": "a"}, {"name": "b"}]})
    assert both.status == 201
    assert [network["name"] for network in both.json["networks"]] == ["a", "b"]
    bad = await world.alice.post(NET, {"networks": [{"name": "c"}, {"name": "d", "shared": True}]})
    fault(bad, 403, "PolicyNotAuthorized")
    assert sorted(one["name"] for one in await listed(world.alice, NET)) == ["a", "b"]
    for networks in ([], [{}] * 101, [{"name": 7}]):
        assert (await world.alice.post(NET, {"networks": networks})).status == 400


async def test_filters_fields_order(world: World) -> None:
    for name in ("b", "a", "c"):
        await make_network(world.alice, name=name)
    await make_network(world.admin, name="shared", shared=True)
    assert [one["name"] for one in await listed(world.alice, f"{NET}?name=a&name=c&sort_key=name")] == [
        "a",
        "c",
    ]
    assert [one["name"] for one in await listed(world.alice, f"{NET}?shared=True")] == ["shared"]
    assert len(await listed(world.alice, f"{NET}?shared=false&tenant_id={world.alice.project_id}")) == 3
    assert await listed(world.alice, f"{NET}?name=A") == []
    assert await listed(world.alice, f"{NET}?name=a&fields=name&fields=mtu") == [{"name": "a", "mtu": 1500}]
    down = await listed(world.alice, f"{NET}?sort_key=name&sort_dir=desc&fields=name")
    assert [one["name"] for one in down] == ["shared", "c", "b", "a"]
    assert await listed(world.alice, f"{NET}?tags=x") == []
    for query in (
        "shared=maybe",
        "wheels=4",
        "sort_key=wheels",
        "sort_key=name&sort_dir=up",
        "limit=-1",
        "limit=x",
    ):
        assert (await world.alice.get(f"{NET}?{query}")).status == 400, query


async def test_pages_go_forth_and_back(world: World) -> None:
    for n in range(5):
        await make_network(world.alice, name=f"n{n}")
    path, seen = f"{NET}?limit=2&sort_key=name&sort_dir=asc", []
    last: dict[str, Any] = {}
    for _ in range(10):
        last = (await world.alice.get(path)).json
        seen += [one["name"] for one in last["networks"]]
        links = {link["rel"]: link["href"] for link in last.get("networks_links", [])}
        if "next" not in links:
            break
        assert links["next"].startswith(f"{world.url}{NET}?")
        path = links["next"].removeprefix(world.url)
    assert seen == [f"n{n}" for n in range(5)]
    back = (await world.alice.get(links["previous"].removeprefix(world.url))).json
    assert [one["name"] for one in back["networks"]] == ["n2", "n3"]
    assert (await world.alice.get(f"{NET}?limit=2&marker={new_uuid()}")).status == 400


async def test_a_subnet_lives(world: World) -> None:
    network = await make_network(world.alice)
    subnet = await make_subnet(
        world.alice,
        network["id"],
        "10.1.2.99/24",
        dns_nameservers=["9.9.9.9"],
        host_routes=[{"destination": "192.168.0.0/16", "nexthop": "10.1.2.7"}],
    )
    assert (subnet["cidr"], subnet["gateway_ip"], subnet["ip_version"]) == ("10.1.2.0/24", "10.1.2.1", 4)
    assert subnet["allocation_pools"] == [{"start": "10.1.2.2", "end": "10.1.2.254"}]
    assert subnet["host_routes"] == [{"destination": "192.168.0.0/16", "nexthop": "10.1.2.7"}]
    assert subnet["enable_dhcp"] is True
    assert (await world.alice.get(f"{NET}/{network['id']}")).json["network"]["subnets"] == [subnet["id"]]

    change = {"subnet": {"name": "s", "dns_nameservers": [], "allocation_pools": subnet["allocation_pools"]}}
    changed = await world.alice.put(f"{SUBNETS}/{subnet['id']}", change)
    assert changed.status == 200
    assert (changed.json["subnet"]["name"], changed.json["subnet"]["dns_nameservers"]) == ("s", [])
    fixed = {"subnet": {"allocation_pools": [{"start": "10.1.2.5", "end": "10.1.2.9"}]}}
    assert "allocation_pools" in fault(
        await world.alice.put(f"{SUBNETS}/{subnet['id']}", fixed), 400, "InvalidInput"
    )
    assert (await world.alice.delete(f"{SUBNETS}/{subnet['id']}")).status == 204
    fault(await world.alice.get(f"{SUBNETS}/{subnet['id']}"), 404, "SubnetNotFound")


@pytest.mark.parametrize(
    ("gateway", "wanted", "pools"),
    [
        (None, None, [("10.0.0.1", "10.0.0.14")]),
        ("10.0.0.14", "10.0.0.14", [("10.0.0.1", "10.0.0.13")]),
        ("10.0.0.7", "10.0.0.7", [("10.0.0.1", "10.0.0.6"), ("10.0.0.8", "10.0.0.14")]),
    ],
)
async def test_pools_leave_the_gateway_out(
    world: World, gateway: str | None, wanted: str | None, pools: list[tuple[str, str]]
) -> None:
    network = await make_network(world.alice)
    subnet = await make_subnet(world.alice, network["id"], "10.0.0.0/28", gateway_ip=gateway)
    assert subnet["gateway_ip"] == wanted
    assert [(pool["start"], pool["end"]) for pool in subnet["allocation_pools"]] == pools


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"cidr": "10.0.0.0/33"}, "cidr"),
        ({"cidr": "ten"}, "cidr"),
        ({"cidr": "10.0.0.0/31"}, "cidr"),
        ({"cidr": "0.0.0.0/0"}, "cidr"),
        ({"cidr": "224.0.0.0/24"}, "multicast"),
        ({"cidr": "127.0.0.0/24"}, "loopback"),
        ({"cidr": "fd00::/64", "ip_version": 6}, "ip_version"),
        ({"cidr": "fd00::/64"}, "IPv6"),
        ({"gateway_ip": "10.9.9.9"}, "gateway_ip"),
        ({"gateway_ip": "10.0.0.255"}, "gateway_ip"),
        ({"gateway_ip": "gate"}, "gateway_ip"),
        ({"allocation_pools": [{"start": "10.0.0.9", "end": "10.0.0.5"}]}, "allocation pool"),
        ({"allocation_pools": [{"start": "10.0.1.2", "end": "10.0.1.9"}]}, "allocation pool"),
        ({"allocation_pools": [{"start": "x", "end": "y"}]}, "allocation_pools"),
        ({"allocation_pools": [{"start": "10.0.0.5"}]}, "end"),
        (
            {
                "allocation_pools": [
                    {"start": "10.0.0.5", "end": "10.0.0.9"},
                    {"start": "10.0.0.9", "end": "10.0.0.12"},
                ]
            },
            "overlapping",
        ),
        ({"dns_nameservers": ["nine"]}, "dns_nameservers"),
        ({"dns_nameservers": [f"9.9.9.{n}" for n in range(6)]}, "dns_nameservers"),
        ({"host_routes": [{"destination": "x", "nexthop": "10.0.0.1"}]}, "destination"),
        ({"name": "n" * 10_000}, "name"),
        ({"wheels": 4}, "wheels"),
        ({"network_id": 7}, "network_id"),
    ],
)
async def test_bad_subnets_name_the_field(world: World, attributes: dict[str, Any], named: str) -> None:
    network = await make_network(world.alice)
    body = {"network_id": network["id"], "cidr": "10.0.0.0/24", "ip_version": 4, **attributes}
    answer = await world.alice.post(SUBNETS, {"subnet": body})
    assert answer.status == 400, answer.data
    assert named in answer.json["NeutronError"]["message"]
    assert await listed(world.alice, SUBNETS) == []


async def test_gateway_in_a_pool_is_a_conflict(world: World) -> None:
    network = await make_network(world.alice)
    body = {
        "network_id": network["id"],
        "cidr": "10.0.0.0/24",
        "ip_version": 4,
        "allocation_pools": [{"start": "10.0.0.1", "end": "10.0.0.9"}],
    }
    assert (await world.alice.post(SUBNETS, {"subnet": body})).status == 409


async def test_overlaps_are_refused_within_a_network(world: World) -> None:
    network = await make_network(world.alice)
    await make_subnet(world.alice, network["id"])
    body = {"subnet": {"network_id": network["id"], "cidr": "10.0.0.128/25", "ip_version": 4}}
    fault(await world.alice.post(SUBNETS, body), 400, "InvalidInput")
    other = await make_network(world.alice)
    await make_subnet(world.alice, other["id"])


async def test_deleting_a_network_takes_its_subnets(world: World) -> None:
    network = await make_network(world.alice)
    subnet = await make_subnet(world.alice, network["id"])
    assert (await world.alice.delete(f"{NET}/{network['id']}")).status == 204
    fault(await world.alice.get(f"{SUBNETS}/{subnet['id']}"), 404, "SubnetNotFound")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ([], "object"),
        ({}, "network"),
        ({"network": []}, "network"),
        ({"network": {"name": 7}}, "name"),
        ({"network": {"name": "n" * 10_000}}, "name"),
        ({"network": {"wheels": 4}}, "wheels"),
        ({"network": {"mtu": 1}}, "mtu"),
        ({"network": {"mtu": "9999999999"}}, "mtu"),
        ({"network": {"mtu": "575"}}, "mtu"),
        ({"network": {"admin_state_up": "up"}}, "admin_state_up"),
        ({"network": {"provider:physical_network": "../x"}}, "provider:physical_network"),
        ({"network": {"project_id": "a", "tenant_id": "b"}}, "tenant_id"),
        ({"network": {}, "more": 1}, "more"),
    ],
)
async def test_bad_networks_name_the_field(world: World, body: Any, named: str) -> None:
    answer = await world.admin.post(NET, body)
    assert answer.status == 400, answer.data
    assert named in answer.json["NeutronError"]["message"]
    assert await listed(world.admin, NET) == []


@pytest.mark.parametrize("name", ["private", "a%20b", "x" * 5000, "%00"])
async def test_names_are_404(world: World, name: str) -> None:
    for collection in ("networks", "subnets", "ports", "security-groups", "security-group-rules"):
        assert (await world.alice.get(f"/network/v2.0/{collection}/{name}")).status == 404


async def test_quota_exceeded_is_409_over_quota(world: World) -> None:
    quotas = f"/network/v2.0/quotas/{world.alice.project_id}"
    fault(await world.alice.put(quotas, {"quota": {"network": 1000}}), 403, "PolicyNotAuthorized")
    assert (await world.admin.put(quotas, {"quota": {"network": 1}})).json["quota"]["network"] == 1
    await make_network(world.alice)
    assert "network" in fault(await world.alice.post(NET, {"network": {}}), 409, "OverQuota").lower()
    detail = (await world.alice.get(f"{quotas}/details.json")).json["quota"]["network"]
    assert detail == {"limit": 1, "used": 1, "reserved": 0}
    low = {"quota": {"network": 0, "check_limit": True}}
    assert "usage" in fault(await world.admin.put(quotas, low), 400, "InvalidInput")
    low["quota"]["force"] = True
    assert (await world.admin.put(quotas, low)).json["quota"]["network"] == 0
    assert (await world.alice.get(f"{quotas}/default")).json["quota"]["network"] == 100
    assert (await world.admin.delete(quotas)).status == 204
    assert (await world.alice.get(quotas)).json["quota"]["network"] == 100
    assert (await world.bob.get(quotas)).status == 404
    for bad in ({"wheels": 1}, {"network": -2}, {"network": "1"}):
        assert (await world.admin.put(quotas, {"quota": bad})).status == 400


async def test_discovery(world: World) -> None:
    resources = (await world.alice.get("/network/v2.0/")).json["resources"]
    for resource in resources:
        path = resource["links"][0]["href"].removeprefix(world.url)
        assert (await world.alice.get(path)).status == 200, path
    extensions = (await world.alice.get("/network/v2.0/extensions")).json["extensions"]
    aliases = {extension["alias"] for extension in extensions}
    assert {"security-group", "provider", "quotas"} <= aliases
    assert not {"router", "l3-ha", "standard-attr-tag"} & aliases
    one = await world.alice.get("/network/v2.0/extensions/provider")
    assert one.json["extension"]["alias"] == "provider"
    fault(await world.alice.get("/network/v2.0/extensions/router"), 404, "ExtensionNotFound")
    assert (await world.alice.get("/network/v2.0/floatingips")).status == 404
    zones = (await world.alice.get("/network/v2.0/availability_zones")).json["availability_zones"]
    assert zones == [{"name": "nova", "resource": "network", "state": "available"}]
    assert (await world.admin.get("/network/v2.0/agents")).json == {"agents": []}
    fault(await world.alice.get("/network/v2.0/agents"), 403, "PolicyNotAuthorized")
    assert (await world.admin.get(f"/network/v2.0/agents/{new_uuid()}")).status == 404


async def test_zones_are_those_that_aggregates_give(world: World) -> None:
    await do(world, host_register("a" * 32, "h1"))
    await do(world, host_register("b" * 32, "h2"))
    await do(world, AggregateCreate(uuid=new_uuid(), name="fast", availability_zone="north"))
    await do(world, AggregateAddHost(aggregate_id=1, host_id=NodeId("a" * 32)))
    zones = (await world.alice.get("/network/v2.0/availability_zones")).json["availability_zones"]
    assert [zone["name"] for zone in zones] == ["north", "nova"]
    agents = (await world.admin.get("/network/v2.0/agents")).json["agents"]
    assert {agent["host"]: agent["availability_zone"] for agent in agents} == {"h1": "north", "h2": "nova"}


async def do(world: World, command: Command) -> None:
    await world.cloud.state.propose(command, request_id=new_request_id())


async def test_no_token_no_answer(world: World) -> None:
    stranger = Person(world.alice.session, world.url, "nonsense", world.alice.project_id)
    for path in ("/network/v2.0/", NET, "/network/v2.0/extensions"):
        assert (await stranger.get(path)).status == 401

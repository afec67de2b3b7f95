"""Ports and security groups of Network v2.0 as clients see them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proto.ids import new_uuid
from tests.api.api_world import Person, World
from tests.api.network.test_networks_api import NET, SUBNETS, fault, listed, make_network, make_subnet

PORTS = "/network/v2.0/ports"
GROUPS = "/network/v2.0/security-groups"
RULES = "/network/v2.0/security-group-rules"


async def make_port(person: Person, network_id: str, **attributes: Any) -> dict[str, Any]:
    answer = await person.post(PORTS, {"port": {"network_id": network_id, **attributes}})
    assert answer.status == 201, answer.data
    port: dict[str, Any] = answer.json["port"]
    return port


async def make_rule(person: Person, group_id: str, **attributes: Any) -> Any:
    rule = {"security_group_id": group_id, "direction": "ingress", **attributes}
    return await person.post(RULES, {"security_group_rule": rule})


async def default_group(person: Person) -> dict[str, Any]:
    (group,) = await listed(person, f"{GROUPS}?name=default&project_id={person.project_id}")
    return group


async def test_a_port_lives(world: World) -> None:
    network = await make_network(world.alice)
    subnet = await make_subnet(world.alice, network["id"], "10.0.0.0/29")
    port = await make_port(world.alice, network["id"], name="p")
    (fixed,) = port["fixed_ips"]
    assert fixed["subnet_id"] == subnet["id"]
    assert fixed["ip_address"] in {f"10.0.0.{n}" for n in range(2, 7)}
    assert port["mac_address"].startswith("fa:16:3e:")
    assert port["security_groups"] == [(await default_group(world.alice))["id"]]
    assert (port["device_id"], port["status"], port["binding:vnic_type"]) == ("", "DOWN", "normal")
    assert "binding:host_id" not in port
    assert (await world.admin.get(f"{PORTS}/{port['id']}")).json["port"]["binding:vif_type"] == "unbound"

    body = {"port": {"name": "new", "security_groups": [], "fixed_ips": port["fixed_ips"]}}
    changed = await world.alice.put(f"{PORTS}/{port['id']}", body)
    assert changed.status == 200, changed.data
    assert (changed.json["port"]["name"], changed.json["port"]["security_groups"]) == ("new", [])
    fault(await world.alice.put(f"{PORTS}/{port['id']}", {"port": {"fixed_ips": []}}), 400, "InvalidInput")
    fault(await world.bob.get(f"{PORTS}/{port['id']}"), 404, "PortNotFound")
    fault(await world.bob.delete(f"{PORTS}/{port['id']}"), 404, "PortNotFound")

    fault(await world.alice.delete(f"{NET}/{network['id']}"), 409, "NetworkInUse")
    fault(await world.alice.delete(f"{SUBNETS}/{subnet['id']}"), 409, "SubnetInUse")
    assert (await world.alice.delete(f"{PORTS}/{port['id']}")).status == 204
    fault(await world.alice.get(f"{PORTS}/{port['id']}"), 404, "PortNotFound")
    assert (await world.alice.delete(f"{NET}/{network['id']}")).status == 204


async def test_concurrent_ports_fill_a_subnet_exactly(world: World) -> None:
    """Everybody draws at random; clashes are drawn again; nobody gets what another has."""
    network = await make_network(world.alice)
    await make_subnet(world.alice, network["id"], "10.0.0.0/28")
    body = {"port": {"network_id": network["id"]}}
    answers = await asyncio.gather(*(world.alice.post(PORTS, body) for _ in range(16)))
    addresses = [a.json["port"]["fixed_ips"][0]["ip_address"] for a in answers if a.status == 201]
    assert sorted(addresses, key=lambda text: int(text.split(".")[3])) == [
        f"10.0.0.{n}" for n in range(2, 15)
    ]
    for answer in answers:
        if answer.status != 201:
            fault(answer, 409, "IpAddressGenerationFailure")


async def test_addresses_may_be_chosen(world: World) -> None:
    network = await make_network(world.alice)
    subnet = await make_subnet(world.alice, network["id"])
    port = await make_port(
        world.alice, network["id"], fixed_ips=[{"ip_address": "10.0.0.77"}, {"subnet_id": subnet["id"]}]
    )
    assert port["fixed_ips"][0] == {"subnet_id": subnet["id"], "ip_address": "10.0.0.77"}
    assert len({fixed["ip_address"] for fixed in port["fixed_ips"]}) == 2
    again = {"port": {"network_id": network["id"], "fixed_ips": [{"ip_address": "10.0.0.77"}]}}
    fault(await world.alice.post(PORTS, again), 409, "IpAddressAlreadyAllocated")
    none = await make_port(world.alice, network["id"], fixed_ips=[])
    assert none["fixed_ips"] == []


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"ip_address": "10.0.1.1"}, "10.0.1.1"),
        ({"ip_address": "10.0.0.1"}, "gateway"),
        ({"ip_address": "10.0.0.0"}, "network or broadcast"),
        ({"ip_address": "ten"}, "ten"),
        ({"subnet_id": new_uuid()}, "subnet"),
        ({}, "fixed_ips"),
        ({"wheels": "4"}, "wheels"),
    ],
)
async def test_addresses_that_cannot_be(world: World, wish: dict[str, str], named: str) -> None:
    network = await make_network(world.alice)
    await make_subnet(world.alice, network["id"])
    body = {"port": {"network_id": network["id"], "fixed_ips": [wish]}}
    answer = await world.alice.post(PORTS, body)
    assert answer.status == 400, answer.data
    assert named in answer.json["NeutronError"]["message"]
    assert await listed(world.alice, PORTS) == []


async def test_macs_are_unique_in_a_network(world: World) -> None:
    network = await make_network(world.alice)
    await make_port(world.alice, network["id"], mac_address="02-00-00-00-00-AA")
    body = {"port": {"network_id": network["id"], "mac_address": "02:00:00:00:00:aa"}}
    fault(await world.alice.post(PORTS, body), 409, "MacAddressInUse")
    assert (await world.alice.post(PORTS, {"port": {**body["port"], "mac_address": "mac"}})).status == 400


async def test_a_drawn_mac_that_is_taken_is_drawn_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = await make_network(world.alice)
    drawn = iter(["fa:16:3e:00:00:01", "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"])
    monkeypatch.setattr("fabric.control.ports.new_mac", lambda: next(drawn))
    macs = [(await make_port(world.alice, network["id"]))["mac_address"] for _ in range(2)]
    assert macs == ["fa:16:3e:00:00:01", "fa:16:3e:00:00:02"]


async def test_ports_on_a_shared_network(world: World) -> None:
    network = await make_network(world.admin, shared=True)
    await make_subnet(world.admin, network["id"])
    port = await make_port(world.alice, network["id"])
    assert port["project_id"] == world.alice.project_id
    refused = {
        "mac_address": "02:00:00:00:00:01",
        "fixed_ips": [{"ip_address": "10.0.0.9"}],
        "port_security_enabled": False,
        "device_owner": "network:dhcp",
    }
    for name, value in refused.items():
        body = {"port": {"network_id": network["id"], name: value}}
        assert name.split(":")[0] in fault(await world.alice.post(PORTS, body), 403, "PolicyNotAuthorized")
    fault(await world.bob.get(f"{PORTS}/{port['id']}"), 404, "PortNotFound")
    assert await listed(world.bob, PORTS) == []


async def test_port_security(world: World) -> None:
    network = await make_network(world.alice)
    port = await make_port(world.alice, network["id"], port_security_enabled=False)
    assert (port["port_security_enabled"], port["security_groups"]) == (False, [])
    group = await default_group(world.alice)
    body = {
        "port": {
            "network_id": network["id"],
            "port_security_enabled": False,
            "security_groups": [group["id"]],
        }
    }
    assert (await world.alice.post(PORTS, body)).status == 409
    assert (
        await world.alice.put(f"{PORTS}/{port['id']}", {"port": {"security_groups": [group["id"]]}})
    ).status == 409


async def test_security_groups_must_be_ones_own(world: World) -> None:
    network = await make_network(world.alice)
    theirs = await default_group(world.bob)
    body = {"port": {"network_id": network["id"], "security_groups": [theirs["id"]]}}
    fault(await world.alice.post(PORTS, body), 404, "SecurityGroupNotFound")
    port = await make_port(world.alice, network["id"])
    body = {"port": {"security_groups": [new_uuid()]}}
    fault(await world.alice.put(f"{PORTS}/{port['id']}", body), 404, "SecurityGroupNotFound")


async def test_port_filters(world: World) -> None:
    network, other = await make_network(world.alice), await make_network(world.alice)
    subnet = await make_subnet(world.alice, network["id"])
    device = new_uuid()
    first = await make_port(
        world.alice, network["id"], fixed_ips=[{"ip_address": "10.0.0.50"}], device_id=device
    )
    second = await make_port(world.alice, network["id"])
    third = await make_port(world.alice, other["id"])

    async def ids(query: str) -> set[str]:
        return {port["id"] for port in await listed(world.alice, f"{PORTS}?{query}")}

    assert await ids("") == {first["id"], second["id"], third["id"]}
    assert await ids(f"network_id={network['id']}") == {first["id"], second["id"]}
    assert await ids(f"network_id={network['id']}&network_id={other['id']}") == {
        first["id"],
        second["id"],
        third["id"],
    }
    assert await ids(f"device_id={device}") == {first["id"]}
    assert await ids("fixed_ips=ip_address%3D10.0.0.50") == {first["id"]}
    assert await ids(f"fixed_ips=subnet_id%3D{subnet['id']}") == {first["id"], second["id"]}
    assert await ids(f"fixed_ips=subnet_id%3D{subnet['id']}&fixed_ips=ip_address%3D10.0.0.50") == {
        first["id"]
    }
    assert await ids(f"mac_address={second['mac_address']}") == {second["id"]}
    assert await ids(f"security_groups={(await default_group(world.alice))['id']}") == {
        first["id"],
        second["id"],
        third["id"],
    }
    assert (await world.alice.get(f"{PORTS}?fixed_ips=wheels%3D4")).status == 400


async def test_bulk_ports_are_all_or_none(world: World) -> None:
    network = await make_network(world.alice)
    await make_subnet(world.alice, network["id"], "10.0.0.0/29")
    item = {"network_id": network["id"]}
    fault(await world.alice.post(PORTS, {"ports": [item] * 6}), 409, "IpAddressGenerationFailure")
    assert await listed(world.alice, PORTS) == []
    made = await world.alice.post(PORTS, {"ports": [item] * 5})
    assert made.status == 201
    assert len(made.json["ports"]) == 5


@pytest.mark.parametrize(
    ("attributes", "status", "named"),
    [
        ({}, 400, "network_id"),
        ({"network_id": "no-such"}, 404, "no-such"),
        ({"network_id": "x" * 10_000}, 400, "network_id"),
        ({"network_id": "n", "name": "n" * 10_000}, 400, "name"),
        ({"network_id": "n", "wheels": 4}, 400, "wheels"),
        ({"network_id": "n", "binding:vnic_type": "direct"}, 400, "binding:vnic_type"),
        ({"network_id": "n", "fixed_ips": "10.0.0.1"}, 400, "fixed_ips"),
        ({"network_id": "n", "security_groups": [7]}, 400, "security_groups"),
    ],
)
async def test_bad_ports_name_the_field(world: World, attributes: Any, status: int, named: str) -> None:
    answer = await world.alice.post(PORTS, {"port": attributes})
    assert answer.status == status, answer.data
    assert named in answer.json["NeutronError"]["message"]


async def test_the_default_group(world: World) -> None:
    group = await default_group(world.alice)
    assert (await default_group(world.alice))["id"] == group["id"]
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]}
    assert rules == {
        ("egress", "IPv4", None),
        ("egress", "IPv6", None),
        ("ingress", "IPv4", group["id"]),
        ("ingress", "IPv6", group["id"]),
    }
    body = {"security_group": {"name": "default"}}
    fault(await world.alice.post(GROUPS, body), 409, "SecurityGroupDefaultAlreadyExists")
    fault(await world.alice.delete(f"{GROUPS}/{group['id']}"), 409, "SecurityGroupCannotRemoveDefault")
    rename = {"security_group": {"name": "other"}}
    fault(await world.alice.put(f"{GROUPS}/{group['id']}", rename), 409, "SecurityGroupCannotUpdateDefault")
    described = await world.alice.put(f"{GROUPS}/{group['id']}", {"security_group": {"description": "mine"}})
    assert described.json["security_group"]["description"] == "mine"
    fault(await world.bob.get(f"{GROUPS}/{group['id']}"), 404, "SecurityGroupNotFound")


async def test_many_first_looks_make_one_default_group(world: World) -> None:
    pages = await asyncio.gather(*(listed(world.alice, GROUPS) for _ in range(8)))
    assert len({page[0]["id"] for page in pages}) == 1
    assert all(len(page) == 1 for page in pages)


async def test_a_group_and_its_rules_live(world: World) -> None:
    made = await world.alice.post(GROUPS, {"security_group": {"name": "web", "description": "d"}})
    assert made.status == 201
    group = made.json["security_group"]
    assert [rule["direction"] for rule in group["security_group_rules"]] == ["egress", "egress"]
    answer = await make_rule(
        world.alice,
        group["id"],
        protocol="tcp",
        port_range_min="22",
        port_range_max=22,
        remote_ip_prefix="0.0.0.0/0",
    )
    assert answer.status == 201, answer.data
    rule = answer.json["security_group_rule"]
    assert (rule["port_range_min"], rule["port_range_max"], rule["ethertype"]) == (22, 22, "IPv4")
    assert (await world.alice.get(f"{RULES}/{rule['id']}")).json["security_group_rule"] == rule
    assert [
        r["id"] for r in await listed(world.alice, f"{RULES}?security_group_id={group['id']}&protocol=tcp")
    ] == [rule["id"]]
    same = await make_rule(
        world.alice,
        group["id"],
        protocol="TCP",
        port_range_min=22,
        port_range_max=22,
        remote_ip_prefix="0.0.0.0/0",
    )
    fault(same, 409, "SecurityGroupRuleExists")
    fault(await world.bob.get(f"{RULES}/{rule['id']}"), 404, "SecurityGroupRuleNotFound")
    fault(await make_rule(world.bob, group["id"], protocol="icmp"), 404, "SecurityGroupNotFound")
    fault(await make_rule(world.alice, group["id"], remote_group_id=new_uuid()), 404, "SecurityGroupNotFound")

    network = await make_network(world.alice)
    port = await make_port(world.alice, network["id"], security_groups=[group["id"]])
    fault(await world.alice.delete(f"{GROUPS}/{group['id']}"), 409, "SecurityGroupInUse")
    await world.alice.delete(f"{PORTS}/{port['id']}")
    assert (await world.alice.delete(f"{RULES}/{rule['id']}")).status == 204
    fault(await world.alice.get(f"{RULES}/{rule['id']}"), 404, "SecurityGroupRuleNotFound")
    assert (await world.alice.delete(f"{GROUPS}/{group['id']}")).status == 204
    fault(await world.alice.get(f"{GROUPS}/{group['id']}"), 404, "SecurityGroupNotFound")


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"direction": "sideways"}, "direction"),
        ({"ethertype": "IPv5"}, "ethertype"),
        ({"protocol": "quic"}, "quic"),
        ({"protocol": 256}, "protocol"),
        ({"protocol": "tcp", "port_range_min": 70_000, "port_range_max": 70_000}, "port_range_min"),
        ({"protocol": "tcp", "port_range_min": 9, "port_range_max": 5}, "port_range_min"),
        ({"port_range_min": 1, "port_range_max": 2}, "protocol"),
        ({"remote_ip_prefix": "everywhere"}, "remote_ip_prefix"),
        ({"remote_ip_prefix": "::/0"}, "ethertype"),
        ({"wheels": 4}, "wheels"),
        ({"description": "d" * 10_000}, "description"),
    ],
)
async def test_bad_rules_name_the_field(world: World, attributes: dict[str, Any], named: str) -> None:
    group = await default_group(world.alice)
    answer = await make_rule(world.alice, group["id"], **attributes)
    assert answer.status == 400, answer.data
    assert named in answer.json["NeutronError"]["message"]
    assert len(await listed(world.alice, RULES)) == 4


async def test_deletes_are_refused_to_readers(world: World) -> None:
    group = await default_group(world.alice)
    (rule, *_) = group["security_group_rules"]
    fault(await world.reader.delete(f"{RULES}/{rule['id']}"), 403, "PolicyNotAuthorized")
    fault(await world.reader.post(GROUPS, {"security_group": {"name": "x"}}), 403, "PolicyNotAuthorized")

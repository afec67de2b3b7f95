"""Networks, subnets, ports and security groups, accepted and each way rejected, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.networks.queries import (
    GetNetwork,
    GetPort,
    GetSecurityGroup,
    GetSecurityRule,
    GetSubnet,
    ListNetworks,
    ListPorts,
    ListSecurityGroups,
    ListSubnets,
    UsedAddresses,
)
from proto.commands.networks import (
    AllocationPool,
    FixedIpChoice,
    NetworkCreate,
    NetworkDelete,
    NetworkUpdate,
    PortCreate,
    PortDelete,
    PortUpdate,
    SecurityGroupCreate,
    SecurityGroupDelete,
    SecurityGroupUpdate,
    SecurityRuleCreate,
    SecurityRuleDelete,
    SecurityRuleSpec,
    SubnetDelete,
    SubnetUpdate,
)
from proto.commands.quotas import QuotaSet
from proto.ids import NetworkId, PortId, ProjectId, SecurityGroupId, SecurityGroupRuleId, SubnetId
from tests.fixtures.store_world import (
    ADMIN_PROJECT,
    GROUP,
    NETWORK,
    PROJECT,
    SUBNET,
    StoreWorld,
    subnet_create,
)

NO_NETWORK, NO_SUBNET, NO_PORT = NetworkId("none"), SubnetId("none"), PortId("none")
NO_GROUP, NO_PROJECT = SecurityGroupId("none"), ProjectId("none")


async def test_networks(world: StoreWorld) -> None:
    command = NetworkCreate(network_id=NetworkId("n2"), project_id=ADMIN_PROJECT, name="n2", shared=True)
    await world.do(command)
    await world.refuse(command, "conflict", "n2 already exists")
    await world.refuse(replace(command, network_id=NetworkId("n3"), project_id=NO_PROJECT), "not_found")
    await world.refuse(replace(command, network_id=NetworkId("n3"), mtu=1), "invalid", "mtu")
    await world.refuse(NetworkUpdate(network_id=NO_NETWORK, name="x"), "not_found", "Network none could not")
    await world.do(NetworkUpdate(network_id=NetworkId("n2"), name="renamed", admin_state_up=False))
    found = await world.ask(GetNetwork(network_id=NetworkId("n2")))
    assert found is not None
    assert (found.name, found.admin_state_up, found.shared, found.revision) == ("renamed", False, True, 2)
    assert {network.network_id for network in await world.ask(ListNetworks())} == {NETWORK, "n2"}
    visible = await world.ask(ListNetworks(visible_to=PROJECT))
    assert {network.network_id for network in visible} == {NETWORK, "n2"}
    visible = await world.ask(ListNetworks(visible_to=ADMIN_PROJECT))
    assert [network.network_id for network in visible] == ["n2"]
    await world.do(QuotaSet(project_id=ADMIN_PROJECT, limits={"network": 1}))
    more = replace(command, network_id=NetworkId("n3"))
    await world.refuse(more, "quota", "Quota exceeded for resources: ['network'].")


async def test_a_network_with_ports_stays(world: StoreWorld) -> None:
    await world.do(PortCreate(port=world.port("p1")))
    await world.refuse(NetworkDelete(network_id=NETWORK), "in_use", "one or more ports still in use")
    await world.refuse(SubnetDelete(subnet_id=SUBNET), "in_use", "IP allocation from this subnet")
    await world.do(PortDelete(port_id=PortId("p1")))
    await world.do(NetworkDelete(network_id=NETWORK))
    assert await world.ask(ListSubnets()) == ()
    await world.refuse(NetworkDelete(network_id=NETWORK), "not_found")
    await world.refuse(SubnetDelete(subnet_id=SUBNET), "not_found")


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"cidr": "10.0.0.1/16"}, "invalid", "10.0.0.1/16"),
        ({"cidr": "rubbish"}, "invalid", "rubbish"),
        ({"cidr": "10.0.0.0/17"}, "conflict", "overlaps with another subnet"),
        ({"cidr": "10.0.0.0/8"}, "conflict", "overlaps"),
        ({"cidr": "fd00::/64"}, "invalid", "IP version 4"),
        ({"cidr": "10.9.0.0/24", "gateway_ip": "10.8.0.1"}, "invalid", "Gateway 10.8.0.1 is not in"),
        ({"cidr": "10.9.0.0/24", "gateway_ip": "x"}, "invalid", "'x' is not a valid IP address"),
        ({"network_id": NO_NETWORK}, "not_found", "Network none"),
        ({"project_id": NO_PROJECT}, "not_found", "project: none"),
        ({"subnet_id": SUBNET}, "conflict", "already exists"),
        (
            {"cidr": "10.9.0.0/24", "gateway_ip": None, "pools": (AllocationPool("10.9.0.9", "10.9.0.2"),)},
            "invalid",
            "ends before it starts",
        ),
        (
            {"cidr": "10.9.0.0/24", "gateway_ip": None, "pools": (AllocationPool("10.9.0.9", "10.9.1.2"),)},
            "invalid",
            "Allocation pool end",
        ),
    ],
)
async def test_subnets_refused(
    world: StoreWorld, changes: dict[str, object], reason: str, words: str
) -> None:
    await world.refuse(replace(subnet_create("s2"), **changes), reason, words)  # type: ignore[arg-type]


async def test_subnets(world: StoreWorld) -> None:
    pools = (AllocationPool("10.1.0.10", "10.1.0.20"),)
    routes = ("0.0.0.0/0 via 10.1.0.1",)
    made = subnet_create(
        "s2", cidr="10.1.0.0/24", gateway_ip="10.1.0.1", pools=pools, dns_nameservers=("1.1.1.1",)
    )
    await world.do(replace(made, host_routes=routes))
    await world.do(subnet_create("s6", cidr="fd00::/64", gateway_ip="fd00::1", ip_version=6))
    await world.do(SubnetUpdate(subnet_id=SubnetId("s2"), name="new", gateway_ip="10.1.0.2"))
    await world.refuse(SubnetUpdate(subnet_id=SubnetId("s2"), gateway_ip="10.2.0.2"), "invalid", "Gateway")
    await world.refuse(SubnetUpdate(subnet_id=NO_SUBNET, name="x"), "not_found", "Subnet none")
    subnet = await world.ask(GetSubnet(subnet_id=SubnetId("s2")))
    assert subnet is not None
    assert (subnet.name, subnet.gateway_ip, subnet.pools, subnet.host_routes, subnet.dns_nameservers) == (
        "new",
        "10.1.0.2",
        pools,
        routes,
        ("1.1.1.1",),
    )
    network = await world.ask(GetNetwork(network_id=NETWORK))
    assert network is not None
    assert set(network.subnet_ids) == {SUBNET, "s2", "s6"}
    assert len(await world.ask(ListSubnets(network_id=NETWORK, visible_to=PROJECT))) == 3
    await world.do(QuotaSet(project_id=PROJECT, limits={"subnet": 3}))
    await world.refuse(subnet_create("s9", cidr="10.9.0.0/24", gateway_ip=None), "quota", "['subnet']")
    await world.do(SubnetDelete(subnet_id=SubnetId("s2")))
    assert await world.ask(GetSubnet(subnet_id=SubnetId("s2"))) is None


async def test_ports(world: StoreWorld) -> None:
    spec = world.port("p1", name="one", mac="FA:16:3E:00:00:AA")
    await world.do(PortCreate(port=spec))
    port = await world.ask(GetPort(port_id=PortId("p1")))
    assert port is not None
    assert (port.mac, port.status, port.network_name) == ("fa:16:3e:00:00:aa", "DOWN", "net")
    assert (port.fixed_ips, port.security_group_ids) == (spec.fixed_ips, (GROUP,))
    assert not port.made_for_server
    assert await world.ask(UsedAddresses(subnet_id=SUBNET)) == (spec.fixed_ips[0].address,)
    await world.do(PortUpdate(port_id=PortId("p1"), name="two", security_group_ids=(), device_id="router"))
    port = await world.ask(GetPort(port_id=PortId("p1")))
    assert port is not None
    assert (port.name, port.security_group_ids, port.device_id, port.revision) == ("two", (), "router", 2)
    await world.refuse(PortUpdate(port_id=NO_PORT, name="x"), "not_found", "Port none could not be found")
    await world.refuse(PortUpdate(port_id=PortId("p1"), security_group_ids=(NO_GROUP,)), "not_found")
    await world.refuse(PortDelete(port_id=NO_PORT), "not_found")
    await world.do(PortDelete(port_id=PortId("p1")))
    assert await world.ask(UsedAddresses(subnet_id=SUBNET)) == ()


async def test_ports_refused(world: StoreWorld) -> None:
    taken = world.port("p1")
    await world.do(PortCreate(port=taken))
    await world.do(NetworkCreate(network_id=NetworkId("n2"), project_id=PROJECT, name="n2"))
    spec = world.port("p2")
    address = taken.fixed_ips[0].address
    for changed, reason, words in (
        (
            replace(spec, fixed_ips=taken.fixed_ips),
            "address_taken",
            f"IP address {address} already allocated",
        ),
        (replace(spec, mac=taken.mac.upper()), "mac_taken", "mac address"),
        (replace(spec, port_id=taken.port_id), "conflict", "Port p1 already exists"),
        (replace(spec, network_id=NO_NETWORK), "not_found", "Network none"),
        (replace(spec, fixed_ips=(FixedIpChoice(NO_SUBNET, "10.0.0.9"),)), "not_found", "Subnet none"),
        (replace(spec, network_id=NetworkId("n2")), "invalid", "not part of network n2"),
        (replace(spec, fixed_ips=(FixedIpChoice(SUBNET, "11.0.0.9"),)), "invalid", "not in the subnet"),
        (replace(spec, fixed_ips=(FixedIpChoice(SUBNET, "x"),)), "invalid", "'x'"),
        (replace(spec, security_group_ids=(NO_GROUP,)), "not_found", "Security group none"),
        (replace(spec, project_id=NO_PROJECT), "not_found", "project"),
    ):
        await world.refuse(PortCreate(port=changed), reason, words)
    await world.do(QuotaSet(project_id=PROJECT, limits={"port": 1}))
    await world.refuse(PortCreate(port=spec), "quota", "Quota exceeded for resources: ['port'].")
    assert len(await world.ask(ListPorts())) == 1  # nothing half-made is left
    assert await world.ask(UsedAddresses(subnet_id=SUBNET)) == (address,)


async def test_a_servers_port_is_not_taken_away(world: StoreWorld) -> None:
    await world.server("web")
    await world.refuse(PortDelete(port_id=PortId("web-port")), "in_use", "in use by server web")
    await world.refuse(PortUpdate(port_id=PortId("web-port"), device_id="x"), "in_use", "attached device web")
    await world.do(PortUpdate(port_id=PortId("web-port"), name="fine"))


async def test_list_ports(world: StoreWorld) -> None:
    await world.server("web")
    await world.do(PortCreate(port=world.port("p1", project_id=ADMIN_PROJECT)))
    for query, expected in (
        (ListPorts(), {"web-port", "p1"}),
        (ListPorts(visible_to=PROJECT), {"web-port"}),
        (ListPorts(device_id="web"), {"web-port"}),
        (ListPorts(network_id=NETWORK, port_ids=(PortId("p1"), NO_PORT)), {"p1"}),
    ):
        assert {port.port_id for port in await world.ask(query)} == expected


def rule(name: str, **changes: object) -> SecurityRuleSpec:
    fields: dict[str, object] = {"protocol": "tcp", "port_min": 22, "port_max": 22}
    return SecurityRuleSpec(
        rule_id=SecurityGroupRuleId(name),
        direction="ingress",
        **fields | changes,  # type: ignore[arg-type]
    )


async def test_security_groups(world: StoreWorld) -> None:
    command = SecurityGroupCreate(
        security_group_id=SecurityGroupId("g2"),
        project_id=PROJECT,
        name="default",
        is_default=True,
        rules=(rule("r1"), rule("r2", remote_group_id=SecurityGroupId("g2"))),
    )
    await world.do(command)
    await world.refuse(replace(command, rules=()), "conflict", "already exists")
    third = replace(command, security_group_id=SecurityGroupId("g3"), rules=())
    await world.refuse(third, "conflict", "Default security group already exists.")
    await world.refuse(replace(third, project_id=NO_PROJECT), "not_found", "project")
    await world.do(QuotaSet(project_id=PROJECT, limits={"security_group": 2}))
    await world.refuse(replace(third, is_default=False), "quota", "['security_group']")
    await world.refuse(SecurityGroupDelete(security_group_id=SecurityGroupId("g2")), "conflict", "default")
    group = await world.ask(GetSecurityGroup(security_group_id=SecurityGroupId("g2")))
    assert group is not None
    assert {made.rule_id for made in group.rules} == {"r1", "r2"}
    assert len(await world.ask(ListSecurityGroups(visible_to=PROJECT))) == 2
    assert await world.ask(ListSecurityGroups(visible_to=ADMIN_PROJECT)) == ()


async def test_changing_and_deleting_groups(world: StoreWorld) -> None:
    await world.refuse(SecurityGroupUpdate(security_group_id=NO_GROUP), "not_found")
    await world.refuse(SecurityGroupDelete(security_group_id=NO_GROUP), "not_found")
    await world.do(SecurityGroupUpdate(security_group_id=GROUP, description="d"))
    other = SecurityGroupId("g2")
    naming = rule("r1", remote_group_id=GROUP)
    await world.do(
        SecurityGroupCreate(security_group_id=other, project_id=PROJECT, name="g2", rules=(naming,))
    )
    server_id = await world.server("web")
    await world.refuse(
        SecurityGroupDelete(security_group_id=GROUP), "in_use", f"Security Group {GROUP} in use"
    )
    await world.do(world.act(server_id, "delete"))
    await world.do(SecurityGroupDelete(security_group_id=GROUP))
    group = await world.ask(GetSecurityGroup(security_group_id=other))
    assert group is not None
    assert group.rules == ()  # what named it as its remote went with it


async def test_security_rules(world: StoreWorld) -> None:
    def create(spec: SecurityRuleSpec) -> SecurityRuleCreate:
        return SecurityRuleCreate(security_group_id=GROUP, rule=spec)

    await world.do(create(rule("r1", remote_cidr="10.0.0.0/8")))
    twin = rule("r2", remote_cidr="10.0.0.0/8", description="not what makes rules differ")
    await world.refuse(create(twin), "conflict", "already exists. Rule id is r1.")
    await world.do(create(rule("r3")))
    for spec, reason in (
        (rule("r1", protocol="udp"), "conflict"),
        (rule("r4", remote_cidr="x"), "invalid"),
        (rule("r4", remote_cidr="10.0.0.0/8", remote_group_id=GROUP), "invalid"),
        (rule("r4", ethertype="IPX"), "invalid"),
        (replace(rule("r4"), direction="sideways"), "invalid"),
        (rule("r4", remote_group_id=NO_GROUP), "not_found"),
    ):
        await world.refuse(create(spec), reason)
    await world.refuse(SecurityRuleCreate(security_group_id=NO_GROUP, rule=rule("r4")), "not_found")
    await world.do(QuotaSet(project_id=PROJECT, limits={"security_group_rule": 2}))
    await world.refuse(create(rule("r4", protocol="udp")), "quota", "['security_group_rule']")
    found = await world.ask(GetSecurityRule(rule_id=SecurityGroupRuleId("r1")))
    assert found is not None
    assert (found.project_id, found.port_min, found.remote_cidr) == (PROJECT, 22, "10.0.0.0/8")
    await world.do(SecurityRuleDelete(rule_id=SecurityGroupRuleId("r1")))
    await world.refuse(SecurityRuleDelete(rule_id=SecurityGroupRuleId("r1")), "not_found")

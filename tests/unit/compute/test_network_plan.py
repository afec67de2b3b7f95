"""Rows to a network plan."""

from __future__ import annotations

from dataclasses import replace

from fabric.compute.network_plan import host_plan, rule_plan
from netplug.contract import NetworkPlan, PortPlan, RulePlan, SubnetPlan
from proto.ids import SecurityGroupId
from tests.fixtures.compute_rows import assigned, group, network, placed, port, rule, subnet, uuid_of

REMOTE = SecurityGroupId(uuid_of("remote"))


def plan(*servers, groups=(), addresses=None, ports=None):  # type: ignore[no-untyped-def]
    return host_plan(
        servers, security_groups=groups, group_addresses=addresses or {}, metadata_ports=ports or {}
    )


def test_a_whole_plan() -> None:
    routed = subnet(host_routes=("172.16.0.0/12 via 10.0.0.2", "nonsense"))
    row = assigned(networks=(network("net-a", routed),))
    made = plan(row, groups=(group(rule()),), ports={uuid_of("net-a"): 4321})
    assert made.networks == (
        NetworkPlan(
            network_id=port().network_id,
            strategy="flat_dhcp",
            physical_network=None,
            mtu=1500,
            subnets=(
                SubnetPlan(
                    cidr="10.0.0.0/24",
                    gateway_ip="10.0.0.1",
                    enable_dhcp=True,
                    dns_nameservers=("9.9.9.9",),
                    host_routes=(("172.16.0.0/12", "10.0.0.2"),),
                ),
            ),
            metadata_port=4321,
        ),
    )
    assert made.ports == (
        PortPlan(
            port_id=port().port_id,
            server_id=placed().server_id,
            network_id=port().network_id,
            mac=port().mac,
            addresses=("10.0.0.5",),
            hostname="web-1",
            rules=(
                RulePlan(direction="ingress", ethertype="IPv4", protocol="tcp", port_min=22, port_max=22),
            ),
        ),
    )


def test_nothing_makes_an_empty_plan() -> None:
    assert plan() == plan()
    assert plan().ports == plan().networks == ()


def test_order_and_repeats_of_rows_do_not_matter() -> None:
    rows = [assigned(placed(f"s{n}"), address=f"10.0.0.{n}") for n in range(2, 6)]
    groups = (group(rule("a"), rule("b", port_min=80, port_max=80), rule("twin of a")),)
    forward = plan(*rows, groups=groups)
    assert plan(*reversed(rows), groups=groups) == forward
    assert len(forward.networks) == 1
    assert len(forward.ports[0].rules) == 2


def test_remote_groups_become_addresses_of_the_rules_family() -> None:
    addresses = {REMOTE: ("10.0.0.9", "10.0.0.10", "fd00::1")}
    four = rule_plan(rule(remote_group_id=REMOTE), addresses)
    assert four.remote_cidrs == ("10.0.0.9/32", "10.0.0.10/32")
    six = rule_plan(rule(remote_group_id=REMOTE, ethertype="IPv6"), addresses)
    assert six.remote_cidrs == ("fd00::1/128",)


def test_an_unknown_remote_group_is_nowhere_not_anywhere() -> None:
    assert rule_plan(rule(remote_group_id=REMOTE), {}).remote_cidrs == ()
    assert rule_plan(rule(), {}).remote_cidrs is None
    assert rule_plan(rule(remote_cidr="10.0.0.0/8"), {}).remote_cidrs == ("10.0.0.0/8",)


def test_a_port_whose_group_is_unknown_allows_nothing() -> None:
    (made,) = plan(assigned()).ports
    assert made.rules == ()
    assert made.port_security


def test_ports_without_security_keep_it_off_unless_they_are_down() -> None:
    open_port = port(port_security_enabled=False, security_group_ids=())
    (made,) = plan(assigned(ports=(open_port,))).ports
    assert not made.port_security
    down = replace(open_port, admin_state_up=False)
    (made,) = plan(assigned(ports=(down,)), groups=(group(rule()),)).ports
    assert made.port_security
    assert made.rules == ()

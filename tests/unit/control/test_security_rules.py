"""What is a rule, in canonical form."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.control.errors import InvalidError
from fabric.control.security_rules import NewSecurityRule, checked
from proto.ids import SecurityGroupId

RULE = NewSecurityRule(security_group_id=SecurityGroupId("g"), direction="ingress")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (RULE, RULE),
        (
            replace(RULE, protocol="TCP", port_min=22, port_max=22),
            replace(RULE, protocol="tcp", port_min=22, port_max=22),
        ),
        (replace(RULE, protocol="any"), RULE),
        (replace(RULE, protocol=""), RULE),
        (replace(RULE, protocol="006"), replace(RULE, protocol="6")),
        (replace(RULE, remote_cidr="10.0.0.9/8"), replace(RULE, remote_cidr="10.0.0.0/8")),
        (replace(RULE, remote_cidr="10.0.0.9"), replace(RULE, remote_cidr="10.0.0.9/32")),
        (replace(RULE, protocol="icmp", port_min=8), replace(RULE, protocol="icmp", port_min=8)),
        (
            replace(RULE, protocol="icmp", ethertype="IPv6"),
            replace(RULE, protocol="icmpv6", ethertype="IPv6"),
        ),
    ],
)
def test_rules_become_canonical(given: NewSecurityRule, wanted: NewSecurityRule) -> None:
    assert checked(given) == wanted
    assert checked(wanted) == wanted


@pytest.mark.parametrize(
    "given",
    [
        replace(RULE, protocol="quic"),
        replace(RULE, protocol="256"),
        replace(RULE, protocol="-1"),
        replace(RULE, protocol="tcp", port_min=5),
        replace(RULE, protocol="tcp", port_max=5),
        replace(RULE, protocol="tcp", port_min=6, port_max=5),
        replace(RULE, protocol="udp", port_min=0, port_max=5),
        replace(RULE, protocol="udp", port_min=1, port_max=65_536),
        replace(RULE, port_min=1, port_max=2),
        replace(RULE, protocol="gre", port_min=1, port_max=2),
        replace(RULE, protocol="icmp", port_max=0),
        replace(RULE, protocol="icmp", port_min=256),
        replace(RULE, protocol="icmp", port_min=1, port_max=256),
        replace(RULE, protocol="icmpv6"),
        replace(RULE, remote_cidr="10.0.0.0/33"),
        replace(RULE, remote_cidr="everywhere"),
        replace(RULE, remote_cidr="::/0"),
        replace(RULE, remote_cidr="10.0.0.0/8", remote_group_id=SecurityGroupId("g")),
    ],
)
def test_what_is_no_rule_is_refused(given: NewSecurityRule) -> None:
    with pytest.raises(InvalidError):
        checked(given)

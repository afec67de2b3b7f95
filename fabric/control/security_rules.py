"""Rules of security groups: what is a rule, and who may make one. Source: Neutron, `securitygroups_db`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError
from fabric.control.network_errors import SecurityRuleExistsError, SecurityRuleNotFoundError
from fabric.control.propose import propose
from fabric.control.security_groups import list_security_groups, owned_group
from fabric.core.networks.model import SecurityRule
from fabric.core.networks.queries import GetSecurityRule
from proto.commands.networks import SecurityRuleCreate, SecurityRuleDelete, SecurityRuleSpec
from proto.ids import RequestId, SecurityGroupId, SecurityGroupRuleId, new_uuid

_WITH_PORTS = frozenset({"tcp", "udp", "sctp", "dccp", "udplite", "6", "17", "132", "33", "136"})
_ICMP = frozenset({"icmp", "1"})
_ICMP_V6 = frozenset({"icmpv6", "ipv6-icmp", "58"})
_OTHER_NAMES = frozenset(
    {"ah", "egp", "esp", "gre", "igmp", "ipip", "ospf", "pgm", "rsvp", "vrrp"}
    | {"ipv6-encap", "ipv6-frag", "ipv6-nonxt", "ipv6-opts", "ipv6-route"}
)
_PORT_MAX = 65_535
_ICMP_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecurityRule:
    """A rule as a caller asks for it, every value already checked for form."""

    security_group_id: SecurityGroupId
    direction: str
    ethertype: str = "IPv4"
    protocol: str | None = None
    port_min: int | None = None
    port_max: int | None = None
    remote_cidr: str | None = None
    remote_group_id: SecurityGroupId | None = None
    description: str = ""


async def list_security_rules(cloud: Cloud, caller: Caller) -> tuple[SecurityRule, ...]:
    """Every rule of every group the caller can see, in the groups' order."""
    groups = await list_security_groups(cloud, caller)
    return tuple(rule for group in groups for rule in group.rules)


async def get_security_rule(cloud: Cloud, caller: Caller, rule_id: SecurityGroupRuleId) -> SecurityRule:
    """Raises SecurityRuleNotFoundError."""
    policy.authorize(caller, "security_group_rules:show")
    rule = await cloud.state.read(GetSecurityRule(rule_id=rule_id))
    if rule is None or not policy.can_see(caller, rule.project_id):
        raise SecurityRuleNotFoundError(f"Security group rule {rule_id} does not exist.")
    return rule


async def create_security_rule(
    cloud: Cloud, caller: Caller, new: NewSecurityRule, *, request_id: RequestId | None = None
) -> SecurityRule:
    """Raises SecurityGroupNotFoundError, SecurityRuleExistsError, QuotaError, InvalidError."""
    policy.authorize(caller, "security_group_rules:create")
    new = checked(new)
    await owned_group(cloud, caller, new.security_group_id)
    if new.remote_group_id is not None:
        await owned_group(cloud, caller, new.remote_group_id)
    rule_id = SecurityGroupRuleId(new_uuid())
    spec = SecurityRuleSpec(
        rule_id=rule_id,
        direction=new.direction,
        ethertype=new.ethertype,
        protocol=new.protocol,
        port_min=new.port_min,
        port_max=new.port_max,
        remote_cidr=new.remote_cidr,
        remote_group_id=new.remote_group_id,
        description=new.description,
    )
    create = SecurityRuleCreate(security_group_id=new.security_group_id, rule=spec)
    try:
        await propose(cloud, create, request_id=request_id or caller.request_id)
    except ConflictError as error:
        raise SecurityRuleExistsError(f"Security group rule already exists. {error.message}") from error
    return await get_security_rule(cloud, caller, rule_id)


async def delete_security_rule(
    cloud: Cloud, caller: Caller, rule_id: SecurityGroupRuleId, *, request_id: RequestId | None = None
) -> None:
    """Raises SecurityRuleNotFoundError."""
    policy.authorize(caller, "security_group_rules:delete")
    await get_security_rule(cloud, caller, rule_id)
    await propose(cloud, SecurityRuleDelete(rule_id=rule_id), request_id=request_id or caller.request_id)


def checked(new: NewSecurityRule) -> NewSecurityRule:
    """The rule in canonical form: protocol in lower case, the prefix as a network.

    Raises: InvalidError naming the attribute.
    """
    if new.remote_cidr is not None and new.remote_group_id is not None:
        raise InvalidError("Only remote_ip_prefix or remote_group_id may be provided.")
    new = replace(new, protocol=_protocol(new), remote_cidr=_prefix(new))
    if new.port_min is None and new.port_max is None:
        return new
    if new.protocol is None:
        raise InvalidError("Must also specify protocol if port range is given.")
    if new.protocol in _WITH_PORTS:
        _check_port_range(new)
    elif new.protocol in _ICMP | _ICMP_V6:
        _check_icmp(new)
    else:
        raise InvalidError(f"Ports cannot be given for protocol {new.protocol}.")
    return new


def _protocol(new: NewSecurityRule) -> str | None:
    if new.protocol is None or new.protocol.lower() in ("", "any"):
        return None
    name = new.protocol.lower()
    if name.isascii() and name.isdigit() and len(name) <= 3 and int(name) <= 255:
        return str(int(name))
    if name not in _WITH_PORTS | _ICMP | _ICMP_V6 | _OTHER_NAMES:
        raise InvalidError(f"Security group rule protocol '{new.protocol[:64]}' is not supported.")
    if name in _ICMP_V6 | {"ipv6-encap", "ipv6-frag", "ipv6-nonxt", "ipv6-opts", "ipv6-route"}:
        if new.ethertype != "IPv6":
            raise InvalidError(f"Invalid ethertype {new.ethertype} for protocol {name}.")
    elif name == "icmp" and new.ethertype == "IPv6":
        return "icmpv6"  # Neutron's own reading
    return name


def _prefix(new: NewSecurityRule) -> str | None:
    if new.remote_cidr is None:
        return None
    try:
        net = ipaddress.ip_network(new.remote_cidr, strict=False)
    except ValueError as error:
        raise InvalidError(f"remote_ip_prefix '{new.remote_cidr[:64]}' is not a valid CIDR.") from error
    if f"IPv{net.version}" != new.ethertype:
        raise InvalidError(f"Conflicting value ethertype {new.ethertype} for CIDR {net}.")
    return str(net)


def _check_port_range(new: NewSecurityRule) -> None:
    if new.port_min is None or new.port_max is None:
        raise InvalidError("For TCP/UDP protocols, port_range_min and port_range_max go together.")
    if not 1 <= new.port_min <= new.port_max <= _PORT_MAX:
        raise InvalidError(
            "For TCP/UDP protocols, port_range_min must be <= port_range_max, both between 1 and 65535."
        )


def _check_icmp(new: NewSecurityRule) -> None:
    if new.port_min is None:
        raise InvalidError(
            "ICMP code (port-range-max) is provided but ICMP type (port-range-min) is missing."
        )
    for name, value in (("type (port_range_min)", new.port_min), ("code (port_range_max)", new.port_max)):
        if value is not None and not 0 <= value <= _ICMP_MAX:
            raise InvalidError(f"ICMP {name} {value} must be between 0 and {_ICMP_MAX}.")

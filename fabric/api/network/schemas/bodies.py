"""What network bodies may hold. `X_CREATE` is the pair (one, many), `X_UPDATE` one schema."""

from __future__ import annotations

from typing import Any

from fabric.api.network.creation import one_or_many
from fabric.api.network.schemas.values import (
    BOOLEAN,
    DESCRIPTION,
    ID,
    IPV4_TEXT,
    NAME,
    OWNER,
    closed,
    whole_number,
    wrapped,
)

MTU_MIN, MTU_MAX = 576, 9_216  # RFC 791's least a host must take; a jumbo frame
_LISTS_MAX = 64

_PROVIDER: dict[str, Any] = {
    "provider:network_type": {"type": "string", "maxLength": 32},
    "provider:physical_network": {
        "type": ["string", "null"],
        "minLength": 1,
        "maxLength": 64,
        "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$",
    },
    "provider:segmentation_id": {"type": "null"},
}
_NETWORK_CHANGE: dict[str, Any] = {
    "name": NAME,
    "description": DESCRIPTION,
    "admin_state_up": BOOLEAN,
    "shared": BOOLEAN,
    "router:external": BOOLEAN,
    "mtu": whole_number(MTU_MIN, MTU_MAX),
    "port_security_enabled": BOOLEAN,
    "is_default": {"enum": [False]},
}
NETWORK_CREATE = one_or_many("network", "networks", closed({**_NETWORK_CHANGE, **OWNER, **_PROVIDER}))
NETWORK_UPDATE = wrapped("network", closed({**_NETWORK_CHANGE, **_PROVIDER}))

_POOLS = {
    "type": "array",
    "maxItems": _LISTS_MAX,
    "items": closed({"start": IPV4_TEXT, "end": IPV4_TEXT}, "start", "end"),
}
_ROUTES = {
    "type": "array",
    "maxItems": _LISTS_MAX,
    "items": closed(
        {
            "destination": {"type": "string", "format": "cidr", "maxLength": 64},
            "nexthop": {"type": "string", "format": "ipv4"},
        },
        "destination",
        "nexthop",
    ),
}
_SUBNET_CHANGE: dict[str, Any] = {
    "name": NAME,
    "description": DESCRIPTION,
    "gateway_ip": {"type": ["string", "null"], "maxLength": 64},
    "enable_dhcp": BOOLEAN,
    "dns_nameservers": {
        "type": "array",
        "maxItems": 5,  # Neutron's max_dns_nameservers
        "items": {"type": "string", "format": "ipv4"},
        "uniqueItems": True,
    },
    "allocation_pools": _POOLS,
    "host_routes": _ROUTES,
}
SUBNET_CREATE = one_or_many(
    "subnet",
    "subnets",
    closed(
        {
            **_SUBNET_CHANGE,
            **OWNER,
            "network_id": ID,
            "cidr": {"type": "string", "maxLength": 64},
            "ip_version": whole_number(4, 6),
            "subnetpool_id": {"type": "null"},
            "ipv6_ra_mode": {"type": "null"},
            "ipv6_address_mode": {"type": "null"},
            "service_types": {"type": "array", "maxItems": 0},
        },
        "network_id",
        "cidr",
        "ip_version",
    ),
)
SUBNET_UPDATE = wrapped("subnet", closed(_SUBNET_CHANGE))

_PORT_CHANGE: dict[str, Any] = {
    "name": NAME,
    "description": DESCRIPTION,
    "admin_state_up": BOOLEAN,
    "security_groups": {"type": "array", "maxItems": _LISTS_MAX, "items": ID},
    "device_id": {"type": "string", "maxLength": 255},
    "device_owner": {"type": "string", "maxLength": 255},
    "port_security_enabled": BOOLEAN,
    "fixed_ips": {
        "type": "array",
        "maxItems": 16,
        "items": closed({"subnet_id": ID, "ip_address": IPV4_TEXT}),
    },
    "mac_address": {"type": "string", "format": "mac"},
    "binding:vnic_type": {"enum": ["normal"]},
    "binding:profile": {"type": "object", "maxProperties": 0},
    "binding:host_id": {"enum": ["", None]},
    "allowed_address_pairs": {"type": "array", "maxItems": 0},
    "extra_dhcp_opts": {"type": "array", "maxItems": 0},
}
PORT_CREATE = one_or_many("port", "ports", closed({**_PORT_CHANGE, **OWNER, "network_id": ID}, "network_id"))
PORT_UPDATE = wrapped("port", closed(_PORT_CHANGE))

_GROUP: dict[str, Any] = {"name": NAME, "description": DESCRIPTION, "stateful": {"enum": [True]}}
GROUP_CREATE = one_or_many("security_group", "security_groups", closed({**_GROUP, **OWNER}, "name"))
GROUP_UPDATE = wrapped("security_group", closed(_GROUP))

_PORT_NUMBER = {"anyOf": [{"type": "null"}, whole_number(0, 65_535)]}
RULE_CREATE = one_or_many(
    "security_group_rule",
    "security_group_rules",
    closed(
        {
            **OWNER,
            "security_group_id": ID,
            "direction": {"enum": ["ingress", "egress"]},
            "ethertype": {"enum": ["IPv4", "IPv6", "ipv4", "ipv6"]},
            "protocol": {
                "type": ["string", "integer", "null"],
                "maxLength": 32,
                "minimum": 0,
                "maximum": 255,
            },
            "port_range_min": _PORT_NUMBER,
            "port_range_max": _PORT_NUMBER,
            "remote_ip_prefix": {"type": ["string", "null"], "maxLength": 64},
            "remote_group_id": {"type": ["string", "null"], "maxLength": 64},
            "remote_address_group_id": {"type": "null"},
            "description": {**DESCRIPTION, "type": ["string", "null"]},
        },
        "security_group_id",
        "direction",
    ),
)

_LIMIT = {"type": "integer", "minimum": -1, "maximum": 2_147_483_647}
QUOTA_UPDATE = wrapped(
    "quota",
    closed(
        {
            "network": _LIMIT,
            "subnet": _LIMIT,
            "port": _LIMIT,
            "security_group": _LIMIT,
            "security_group_rule": _LIMIT,
            "check_limit": BOOLEAN,
            "force": BOOLEAN,
            **OWNER,
        }
    ),
)

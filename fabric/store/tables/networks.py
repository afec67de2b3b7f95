"""Networks, subnets, ports, security groups."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Table, UniqueConstraint

from fabric.store.tables.base import INT, TEXT, JsonText, metadata

networks = Table(
    "networks",
    metadata,
    Column("network_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("strategy", TEXT, nullable=False),
    Column("physical_network", TEXT, nullable=True),
    Column("admin_state_up", Boolean, nullable=False),
    Column("shared", Boolean, nullable=False),
    Column("external", Boolean, nullable=False),
    Column("mtu", INT, nullable=False),
    Column("port_security_enabled", Boolean, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    Column("revision", INT, nullable=False),
)

subnets = Table(
    "subnets",
    metadata,
    Column("subnet_id", TEXT, primary_key=True),
    Column("network_id", TEXT, nullable=False, index=True),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("cidr", TEXT, nullable=False),
    Column("gateway_ip", TEXT, nullable=True),
    Column("enable_dhcp", Boolean, nullable=False),
    Column("dns_nameservers", JsonText, nullable=False),
    Column("pools", JsonText, nullable=False),  # [[start, end], ...]
    Column("host_routes", JsonText, nullable=False),
    Column("ip_version", INT, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    Column("revision", INT, nullable=False),
)

ports = Table(
    "ports",
    metadata,
    Column("port_id", TEXT, primary_key=True),
    Column("network_id", TEXT, nullable=False),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("mac", TEXT, nullable=False),
    Column("device_id", TEXT, nullable=False, index=True),
    Column("device_owner", TEXT, nullable=False),
    Column("nic", INT, nullable=True),  # place among the server's NICs; None: no server of ours has it
    Column("host_id", TEXT, nullable=True),
    Column("status", TEXT, nullable=False),
    Column("admin_state_up", Boolean, nullable=False),
    Column("port_security_enabled", Boolean, nullable=False),
    Column("made_for_server", Boolean, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    Column("revision", INT, nullable=False),
    UniqueConstraint("network_id", "mac"),
)

fixed_ips = Table(
    "fixed_ips",
    metadata,
    Column("subnet_id", TEXT, primary_key=True),  # an address is held once in its subnet
    Column("address", TEXT, primary_key=True),
    Column("port_id", TEXT, nullable=False, index=True),
    Column("position", INT, nullable=False),
)

port_security_groups = Table(
    "port_security_groups",
    metadata,
    Column("port_id", TEXT, primary_key=True),
    Column("security_group_id", TEXT, primary_key=True, index=True),
    Column("position", INT, nullable=False),
)

security_groups = Table(
    "security_groups",
    metadata,
    Column("security_group_id", TEXT, primary_key=True),
    Column("project_id", TEXT, nullable=False),
    Column("name", TEXT, nullable=False),
    Column("description", TEXT, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    Column("revision", INT, nullable=False),
    Index("ix_security_groups_project_id_is_default", "project_id", "is_default"),
)

security_rules = Table(
    "security_rules",
    metadata,
    Column("rule_id", TEXT, primary_key=True),
    Column("security_group_id", TEXT, nullable=False, index=True),
    Column("project_id", TEXT, nullable=False, index=True),
    Column("direction", TEXT, nullable=False),
    Column("ethertype", TEXT, nullable=False),
    Column("protocol", TEXT, nullable=True),
    Column("port_min", INT, nullable=True),
    Column("port_max", INT, nullable=True),
    Column("remote_cidr", TEXT, nullable=True),
    Column("remote_group_id", TEXT, nullable=True, index=True),
    Column("description", TEXT, nullable=False),
    Column("created_ms", INT, nullable=False),
    Column("updated_ms", INT, nullable=False),
    Column("revision", INT, nullable=False),
)

"""Security groups and their rules. Messages in Neutron's words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, delete, insert, select, update

from fabric.store import tables as t
from fabric.store.apply.addresses import parse_cidr
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import need_group, need_project
from fabric.store.apply.quota import check_network_quota
from fabric.store.apply.registry import handles
from proto.commands.networks import (
    SecurityGroupCreate,
    SecurityGroupDelete,
    SecurityGroupUpdate,
    SecurityRuleCreate,
    SecurityRuleDelete,
    SecurityRuleSpec,
)


@handles(SecurityGroupCreate, lambda command: command.security_group_id)
def create_group(context: ApplyContext, command: SecurityGroupCreate) -> Result:
    need_project(context, command.project_id)
    groups = t.security_groups.c
    known = select(groups.project_id).where(groups.security_group_id == command.security_group_id)
    if context.exists(single(known)):
        reject("conflict", f"Security group {command.security_group_id} already exists.")
    if command.is_default:
        defaults = select(groups.project_id).where(
            groups.project_id == command.project_id, groups.is_default.is_(True)
        )
        if context.exists(single(defaults)):
            reject("conflict", "Default security group already exists.")
    check_network_quota(context, "security_group", t.security_groups, command.project_id)
    context.write(
        insert(t.security_groups),
        {
            "security_group_id": command.security_group_id,
            "project_id": command.project_id,
            "name": command.name,
            "description": command.description,
            "is_default": command.is_default,
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
            "revision": 1,
        },
    )
    for rule in command.rules:
        _insert_rule(context, command.security_group_id, command.project_id, rule)
    return {}


@handles(SecurityGroupUpdate, lambda command: command.security_group_id)
def update_group(context: ApplyContext, command: SecurityGroupUpdate) -> Result:
    row = need_group(context, command.security_group_id)
    context.project_id = row.project_id
    given = {"name": command.name, "description": command.description}
    _touch(context, row, **{name: value for name, value in given.items() if value is not None})
    return {}


@handles(SecurityGroupDelete, lambda command: command.security_group_id)
def delete_group(context: ApplyContext, command: SecurityGroupDelete) -> Result:
    """Rules of other groups that name it as their remote go with it."""
    row = need_group(context, command.security_group_id)
    context.project_id = row.project_id
    used = select(t.port_security_groups.c.port_id).where(
        t.port_security_groups.c.security_group_id == command.security_group_id
    )
    if context.exists(single(used.limit(1))):
        reject("in_use", f"Security Group {command.security_group_id} in use.")
    if row.is_default:
        reject("conflict", "Insufficient rights for removing default security group.")
    rules = t.security_rules.c
    mine = (rules.security_group_id == row.security_group_id) | (
        rules.remote_group_id == row.security_group_id
    )
    context.write(delete(t.security_rules).where(mine))
    context.write(
        delete(t.security_groups).where(t.security_groups.c.security_group_id == row.security_group_id)
    )
    return {}


@handles(SecurityRuleCreate, lambda command: command.rule.rule_id)
def create_rule(context: ApplyContext, command: SecurityRuleCreate) -> Result:
    group = need_group(context, command.security_group_id)
    context.project_id = group.project_id
    _insert_rule(context, group.security_group_id, group.project_id, command.rule)
    _touch(context, group)
    return {}


@handles(SecurityRuleDelete, lambda command: command.rule_id)
def delete_rule(context: ApplyContext, command: SecurityRuleDelete) -> Result:
    rules = t.security_rules.c
    row = context.row(single(select(t.security_rules).where(rules.rule_id == command.rule_id)))
    if row is None:
        reject("not_found", f"Security group rule {command.rule_id} does not exist")
    context.project_id = row.project_id
    context.write(delete(t.security_rules).where(rules.rule_id == command.rule_id))
    _touch(context, need_group(context, row.security_group_id))
    return {}


def _insert_rule(context: ApplyContext, group_id: str, project_id: str, rule: SecurityRuleSpec) -> None:
    values = _checked_rule(context, rule)
    rules = t.security_rules.c
    if context.exists(single(select(rules.rule_id).where(rules.rule_id == rule.rule_id))):
        reject("conflict", f"Security group rule {rule.rule_id} already exists.")
    equal: ColumnElement[bool] = rules.security_group_id == group_id
    for name, value in values.items():
        equal &= rules[name].is_(None) if value is None else rules[name] == value
    twin = select(rules.rule_id).where(equal).order_by(rules.rule_id).limit(1)
    row = context.row(twin)
    if row is not None:
        reject("conflict", f"Security group rule already exists. Rule id is {row.rule_id}.")
    check_network_quota(context, "security_group_rule", t.security_rules, project_id)
    context.write(
        insert(t.security_rules),
        {
            "rule_id": rule.rule_id,
            "security_group_id": group_id,
            "project_id": project_id,
            **values,
            "description": rule.description,
            "created_ms": context.time_ms,
            "updated_ms": context.time_ms,
            "revision": 1,
        },
    )


def _checked_rule(context: ApplyContext, rule: SecurityRuleSpec) -> dict[str, Any]:
    """What makes two rules equal, as column values. Rejects `invalid`, `not_found`."""
    if rule.direction not in ("ingress", "egress"):
        reject("invalid", f"Invalid input for direction: {rule.direction}.")
    if rule.ethertype not in ("IPv4", "IPv6"):
        reject("invalid", f"Invalid input for ethertype: {rule.ethertype}.")
    if rule.remote_cidr is not None and rule.remote_group_id is not None:
        reject("invalid", "Only remote_ip_prefix or remote_group_id may be provided.")
    if rule.remote_group_id is not None:
        need_group(context, rule.remote_group_id)
    return {
        "direction": rule.direction,
        "ethertype": rule.ethertype,
        "protocol": rule.protocol,
        "port_min": rule.port_min,
        "port_max": rule.port_max,
        "remote_cidr": None if rule.remote_cidr is None else str(parse_cidr(rule.remote_cidr)),
        "remote_group_id": rule.remote_group_id,
    }


def _touch(context: ApplyContext, row: Any, **values: Any) -> None:
    context.write(
        update(t.security_groups)
        .where(t.security_groups.c.security_group_id == row.security_group_id)
        .values(**values, updated_ms=context.time_ms, revision=row.revision + 1)
    )

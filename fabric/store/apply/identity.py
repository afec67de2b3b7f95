"""Identity: projects, users, roles, assignments, revoked tokens. Messages in Keystone's words."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Table, delete, insert, select, update

from fabric.core.quotas.model import DEFAULT_LIMITS
from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.lookups import need_project, need_role, need_user
from fabric.store.apply.quota import DEFAULTS_PROJECT, forget_limits_of_project, forget_limits_of_user
from fabric.store.apply.registry import handles
from fabric.store.apply.server_groups import delete_groups_of
from proto.commands.identity import (
    AssignmentGrant,
    AssignmentRevoke,
    AuthTokenRevoke,
    FabricInit,
    ProjectCreate,
    ProjectDelete,
    ProjectUpdate,
    RoleCreate,
    RoleDelete,
    UserCreate,
    UserDelete,
    UserUpdate,
)

DOMAIN_NAME = "Default"


@handles(FabricInit, lambda command: command.fabric_id)
def init_fabric(context: ApplyContext, command: FabricInit) -> Result:
    if context.exists(single(select(t.fabric.c.id))):
        reject("conflict", "The fabric is already initialised.")
    context.write(
        insert(t.fabric),
        {
            "id": 1,
            "fabric_id": command.fabric_id,
            "founder_id": command.node_id,
            "root_public": command.root_public,
            "domain_id": command.domain_id,
            "domain_name": DOMAIN_NAME,
            "admin_project_id": command.admin_project_id,
            "token_key": command.token_key,
        },
    )
    for project_id, name in ((command.admin_project_id, "admin"), (command.service_project_id, "service")):
        _insert_project(context, project_id, command.domain_id, name, f"The {name} project.", True)
    for role_id, name in (
        (command.admin_role_id, "admin"),
        (command.manager_role_id, "manager"),
        (command.member_role_id, "member"),
        (command.reader_role_id, "reader"),
    ):
        context.write(
            insert(t.roles), {"role_id": role_id, "name": name, "description": "", "immutable": True}
        )
    context.write(
        insert(t.users),
        {
            "user_id": command.admin_user_id,
            "domain_id": command.domain_id,
            "name": "admin",
            "password_hash": command.admin_password_hash,
            "enabled": True,
            "default_project_id": command.admin_project_id,
            "description": "Made when the fabric was.",
            "email": None,
            "created_ms": context.time_ms,
            "password_ms": context.time_ms,
        },
    )
    context.write(
        insert(t.assignments),
        {
            "user_id": command.admin_user_id,
            "project_id": command.admin_project_id,
            "role_id": command.admin_role_id,
        },
    )
    for resource, limit in sorted(DEFAULT_LIMITS.items()):
        context.write(
            insert(t.quota_limits),
            {"project_id": DEFAULTS_PROJECT, "resource": resource, "hard_limit": limit},
        )
    return {}


@handles(ProjectCreate, lambda command: command.project_id)
def create_project(context: ApplyContext, command: ProjectCreate) -> Result:
    _need_domain(context, command.domain_id)
    _need_free_id(context, t.projects, t.projects.c.project_id == command.project_id, command.project_id)
    _need_free_name(context, "project", t.projects, command.domain_id, command.name)
    _insert_project(
        context, command.project_id, command.domain_id, command.name, command.description, command.enabled
    )
    return {}


@handles(ProjectUpdate, lambda command: command.project_id)
def update_project(context: ApplyContext, command: ProjectUpdate) -> Result:
    row = need_project(context, command.project_id)
    if command.name is not None and command.name != row.name:
        _need_free_name(context, "project", t.projects, row.domain_id, command.name)
    given = {"name": command.name, "description": command.description, "enabled": command.enabled}
    _update(context, t.projects, t.projects.c.project_id == command.project_id, given)
    return {}


@handles(ProjectDelete, lambda command: command.project_id)
def delete_project(context: ApplyContext, command: ProjectDelete) -> Result:
    need_project(context, command.project_id)
    for table, noun in (
        (t.servers, "servers"),
        (t.images, "images"),
        (t.ports, "ports"),
        (t.networks, "networks"),
        (t.subnets, "subnets"),
    ):
        owned = select(table.c.project_id).where(table.c.project_id == command.project_id)
        if context.exists(single(owned.limit(1))):
            reject("in_use", f"Project {command.project_id} still owns {noun}. Delete them first.")
    groups = t.security_groups.c
    owned = select(groups.security_group_id).where(groups.project_id == command.project_id)
    context.write(delete(t.security_rules).where(t.security_rules.c.remote_group_id.in_(single(owned))))
    for table in (t.security_rules, t.security_groups, t.assignments, t.flavor_access):
        context.write(delete(table).where(table.c.project_id == command.project_id))
    delete_groups_of(context, command.project_id)
    forget_limits_of_project(context, command.project_id)
    context.write(
        update(t.users)
        .where(t.users.c.default_project_id == command.project_id)
        .values(default_project_id=None)
    )
    context.write(delete(t.projects).where(t.projects.c.project_id == command.project_id))
    return {}


@handles(UserCreate, lambda command: command.user_id)
def create_user(context: ApplyContext, command: UserCreate) -> Result:
    _need_domain(context, command.domain_id)
    _need_free_id(context, t.users, t.users.c.user_id == command.user_id, command.user_id)
    _need_free_name(context, "user", t.users, command.domain_id, command.name)
    if command.default_project_id is not None:
        need_project(context, command.default_project_id)
    context.write(
        insert(t.users),
        {
            "user_id": command.user_id,
            "domain_id": command.domain_id,
            "name": command.name,
            "password_hash": command.password_hash,
            "enabled": command.enabled,
            "default_project_id": command.default_project_id,
            "description": command.description,
            "email": command.email,
            "created_ms": context.time_ms,
            "password_ms": context.time_ms,
        },
    )
    return {}


@handles(UserUpdate, lambda command: command.user_id)
def update_user(context: ApplyContext, command: UserUpdate) -> Result:
    row = need_user(context, command.user_id)
    if command.name is not None and command.name != row.name:
        _need_free_name(context, "user", t.users, row.domain_id, command.name)
    if command.default_project_id is not None:
        need_project(context, command.default_project_id)
    given = {
        "name": command.name,
        "password_hash": command.password_hash,
        "password_ms": None if command.password_hash is None else context.time_ms,
        "enabled": command.enabled,
        "default_project_id": command.default_project_id,
        "description": command.description,
        "email": command.email,
    }
    _update(context, t.users, t.users.c.user_id == command.user_id, given)
    return {}


@handles(UserDelete, lambda command: command.user_id)
def delete_user(context: ApplyContext, command: UserDelete) -> Result:
    """Takes the user's assignments and key pairs. Servers stay: they belong to the project."""
    need_user(context, command.user_id)
    for table in (t.assignments, t.keypairs, t.users):
        context.write(delete(table).where(table.c.user_id == command.user_id))
    forget_limits_of_user(context, command.user_id)
    return {}


@handles(RoleCreate, lambda command: command.role_id)
def create_role(context: ApplyContext, command: RoleCreate) -> Result:
    _need_free_id(context, t.roles, t.roles.c.role_id == command.role_id, command.role_id)
    if context.exists(single(select(t.roles.c.role_id).where(t.roles.c.name == command.name))):
        reject("conflict", _duplicate("role", f"Duplicate entry found with name {command.name}."))
    context.write(
        insert(t.roles),
        {
            "role_id": command.role_id,
            "name": command.name,
            "description": command.description,
            "immutable": False,
        },
    )
    return {}


@handles(RoleDelete, lambda command: command.role_id)
def delete_role(context: ApplyContext, command: RoleDelete) -> Result:
    row = need_role(context, command.role_id)
    if row.immutable:
        reject("forbidden", f"Unable to delete immutable role resource: {command.role_id}.")
    for table in (t.assignments, t.roles):
        context.write(delete(table).where(table.c.role_id == command.role_id))
    return {}


@handles(AssignmentGrant, lambda command: command.user_id)
def grant_assignment(context: ApplyContext, command: AssignmentGrant) -> Result:
    need_user(context, command.user_id)
    need_project(context, command.project_id)
    need_role(context, command.role_id)
    if not context.exists(single(select(t.assignments.c.user_id).where(_assignment(command)))):
        context.write(
            insert(t.assignments),
            {"user_id": command.user_id, "project_id": command.project_id, "role_id": command.role_id},
        )
    return {}


@handles(AssignmentRevoke, lambda command: command.user_id)
def revoke_assignment(context: ApplyContext, command: AssignmentRevoke) -> Result:
    if not context.write(delete(t.assignments).where(_assignment(command))):
        reject(
            "not_found",
            f"Could not find role assignment with role: {command.role_id}, "
            f"user or group: {command.user_id}, project, domain, or system: {command.project_id}.",
        )
    return {}


@handles(AuthTokenRevoke, lambda command: command.audit_id)
def revoke_token(context: ApplyContext, command: AuthTokenRevoke) -> Result:
    """Revoking twice is the same as once. Rows past their token's own end are dropped on the way."""
    context.write(delete(t.revoked_tokens).where(t.revoked_tokens.c.expires_ms < context.time_ms))
    known = select(t.revoked_tokens.c.audit_id).where(t.revoked_tokens.c.audit_id == command.audit_id)
    if not context.exists(single(known)):
        context.write(
            insert(t.revoked_tokens), {"audit_id": command.audit_id, "expires_ms": command.expires_ms}
        )
    return {}


def _assignment(command: AssignmentGrant | AssignmentRevoke) -> ColumnElement[bool]:
    return (
        (t.assignments.c.user_id == command.user_id)
        & (t.assignments.c.project_id == command.project_id)
        & (t.assignments.c.role_id == command.role_id)
    )


def _insert_project(
    context: ApplyContext, project_id: str, domain_id: str, name: str, description: str, enabled: bool
) -> None:
    context.write(
        insert(t.projects),
        {
            "project_id": project_id,
            "domain_id": domain_id,
            "name": name,
            "description": description,
            "enabled": enabled,
            "created_ms": context.time_ms,
        },
    )


def _update(context: ApplyContext, table: Table, where: ColumnElement[bool], given: dict[str, Any]) -> None:
    """Writes the fields that are not None."""
    values = {name: value for name, value in given.items() if value is not None}
    if values:
        context.write(update(table).where(where).values(values))


def _need_domain(context: ApplyContext, domain_id: str) -> None:
    if not context.exists(single(select(t.fabric.c.id).where(t.fabric.c.domain_id == domain_id))):
        reject("not_found", f"Could not find domain: {domain_id}.")


def _need_free_id(context: ApplyContext, table: Table, where: ColumnElement[bool], value: str) -> None:
    if context.exists(single(select(*table.primary_key.columns).where(where))):
        reject("conflict", _duplicate(table.name[:-1], f"Duplicate ID, {value}."))


def _need_free_name(context: ApplyContext, noun: str, table: Table, domain_id: str, name: str) -> None:
    taken = select(table.c.name).where(table.c.domain_id == domain_id, table.c.name == name)
    if context.exists(single(taken)):
        detail = f"Duplicate entry found with name {name} at domain ID {domain_id}."
        reject("conflict", _duplicate(noun, detail))


def _duplicate(noun: str, detail: str) -> str:
    return f"Conflict occurred attempting to store {noun} - {detail}"

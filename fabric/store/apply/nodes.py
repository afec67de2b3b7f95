"""Nodes, hosts, join tokens, role grants."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, delete, insert, select, update

from fabric.store import tables as t
from fabric.store.apply.aggregates import leave_aggregates
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.held import held_on
from fabric.store.apply.host_offers import forget_host
from fabric.store.apply.lookups import need_host
from fabric.store.apply.numbers import next_number
from fabric.store.apply.registry import handles
from fabric.store.prepared import AnyRow
from proto.commands.nodes import (
    HostRegister,
    HostUpdate,
    JoinTokenCreate,
    JoinTokenRevoke,
    NodeAdmit,
    NodeRemove,
    NodeRename,
    NodeRenew,
    RoleHold,
    VoterWish,
)

TOKEN_KEPT_MS = 24 * 3_600_000  # past its end, so that a late joiner hears "expired" and not "unknown"
HOST_NUMBER = "host_number"


@handles(JoinTokenCreate, lambda command: command.token_id)
def create_join_token(context: ApplyContext, command: JoinTokenCreate) -> Result:
    context.write(delete(t.join_tokens).where(t.join_tokens.c.expires_ms < context.time_ms - TOKEN_KEPT_MS))
    known = select(t.join_tokens.c.token_id).where(t.join_tokens.c.token_id == command.token_id)
    if context.exists(single(known)):
        reject("conflict", f"Join token {command.token_id} already exists.")
    if command.uses < 1:
        reject("invalid", "A join token needs at least one use.")
    context.write(
        insert(t.join_tokens),
        {
            "token_id": command.token_id,
            "secret_hash": command.secret_hash,
            "expires_ms": command.expires_ms,
            "uses_left": command.uses,
            "door_public": command.door_public,
        },
    )
    return {}


@handles(JoinTokenRevoke, lambda command: command.token_id)
def revoke_join_token(context: ApplyContext, command: JoinTokenRevoke) -> Result:
    if not context.write(delete(t.join_tokens).where(t.join_tokens.c.token_id == command.token_id)):
        reject("not_found", f"Join token {command.token_id} could not be found.")
    return {}


@handles(NodeAdmit, lambda command: command.node_id)
def admit_node(context: ApplyContext, command: NodeAdmit) -> Result:
    _refuse_removed(context, command)
    row = context.row(single(select(t.nodes).where(t.nodes.c.node_id == command.node_id)))
    if row is not None:
        return _admit_again(context, command, row)
    if command.token_id is None:
        _need_founder(context, command)
    else:
        _take_use(context, command.token_id)
    need_free_name(context, command)
    _need_free_key(context, command.node_id, command.curve_public)
    context.write(
        insert(t.nodes),
        {
            "node_id": command.node_id,
            "name": command.name,
            "curve_public": command.curve_public,
            "certificate": command.certificate,
            "admitted_ms": context.time_ms,
            "generation": command.generation,
            "body": command.body,
            "signature": command.signature,
        },
    )
    return {"admitted": True}


def _admit_again(context: ApplyContext, command: NodeAdmit, row: AnyRow) -> Result:
    """The same node once more, perhaps renamed or with a newer certificate. Takes no use."""
    if bytes(row.curve_public) != command.curve_public:
        reject("conflict", f"Node {command.node_id} was admitted with another key.")
    if command.generation < row.generation:
        reject("stale", f"Node {command.node_id} has a newer certificate by now. Ask again.")
    need_free_name(context, command)
    values = {"name": command.name, "certificate": command.certificate, "generation": command.generation}
    if command.body:
        values |= {"body": command.body, "signature": command.signature}
    context.write(update(t.nodes).where(t.nodes.c.node_id == command.node_id).values(**values))
    return {"admitted": False}


@handles(NodeRenew, lambda command: command.node_id)
def renew_node(context: ApplyContext, command: NodeRenew) -> Result:
    row = need_node_before(context, command)
    if bytes(row.certificate) == command.certificate:
        return {}
    if bytes(row.curve_public) != command.curve_public:
        _need_free_key(context, command.node_id, command.curve_public)
    values = {
        "curve_public": command.curve_public,
        "certificate": command.certificate,
        "generation": command.generation,
    }
    if command.body:
        values |= {"body": command.body, "signature": command.signature}
    context.write(update(t.nodes).where(t.nodes.c.node_id == command.node_id).values(**values))
    return {}


def need_node_before(context: ApplyContext, command: NodeRenew | NodeRename) -> AnyRow:
    """The row that the command makes newer, or has made newer already. Rejects `not_found`, `stale`."""
    row = context.row(single(select(t.nodes).where(t.nodes.c.node_id == command.node_id)))
    if row is None:
        reject("not_found", f"Node {command.node_id} is not a member of this fabric.")
    if bytes(row.certificate) != command.certificate and command.generation <= row.generation:
        reject("stale", f"Node {command.node_id} has a newer certificate by now. Ask again.")
    return row


def _refuse_removed(context: ApplyContext, command: NodeAdmit) -> None:
    gone = (t.removed_nodes.c.node_id == command.node_id) | (
        t.removed_nodes.c.curve_public == command.curve_public
    )
    if context.exists(select(t.removed_nodes.c.node_id).where(gone).order_by(t.removed_nodes.c.node_id)):
        reject(
            "forbidden",
            f"Node {command.node_id} was removed from this fabric, and its keys with it. The machine may "
            "come back as a new node: remove its state directory, so that it makes new keys, and join again.",
        )


def _need_free_key(context: ApplyContext, node_id: str, curve_public: bytes) -> None:
    """A key of another node, of a removed one too, is nobody else's."""
    for table in (t.nodes, t.removed_nodes):
        taken = (table.c.curve_public == curve_public) & (table.c.node_id != node_id)
        if context.exists(select(table.c.node_id).where(taken).order_by(table.c.node_id)):
            reject("conflict", "Another node already has this key.")


def _need_founder(context: ApplyContext, command: NodeAdmit) -> None:
    founder = context.row(single(select(t.fabric.c.founder_id)))
    if founder is None or founder.founder_id != command.node_id:
        reject("forbidden", "Only the founding node is admitted without a join token.")


def _take_use(context: ApplyContext, token_id: str) -> None:
    token = context.row(single(select(t.join_tokens).where(t.join_tokens.c.token_id == token_id)))
    if token is None or token.uses_left < 1:
        reject("not_found", f"Join token {token_id} is unknown or used up. Make a new one.")
    if context.time_ms >= token.expires_ms:
        reject("expired", f"Join token {token_id} has expired. Make a new one.")
    context.write(
        update(t.join_tokens)
        .where(t.join_tokens.c.token_id == token_id)
        .values(uses_left=token.uses_left - 1)
    )


def need_free_name(
    context: ApplyContext,
    command: NodeAdmit | NodeRename,
    *,
    what: str = "node",
    by_id: Column[Any] = t.nodes.c.node_id,
) -> None:
    """Rejects `conflict` where another row of the table that `by_id` is of has the name."""
    others = (by_id.table.c.name == command.name) & (by_id != command.node_id)
    if context.exists(single(select(by_id).where(others))):
        reject("conflict", f"Another {what} is already named {command.name}. Choose another name.")


@handles(NodeRemove, lambda command: command.node_id)
def remove_node(context: ApplyContext, command: NodeRemove) -> Result:
    """Rejected `in_use` while servers are on it: their rows would point nowhere."""
    row = context.row(single(select(t.nodes).where(t.nodes.c.node_id == command.node_id)))
    on_it = select(t.servers.c.server_id).where(t.servers.c.host_id == command.node_id)
    if context.exists(single(on_it.limit(1))) or held_on(context, command.node_id):
        reject("in_use", f"Node {command.node_id} still has servers. Delete or move them first.")
    if row is None:
        reject("not_found", f"Node {command.node_id} could not be found.")
    context.write(delete(t.nodes).where(t.nodes.c.node_id == command.node_id))
    context.write(
        insert(t.removed_nodes),
        {
            "node_id": command.node_id,
            "name": row.name,
            "curve_public": bytes(row.curve_public),
            "removed_ms": context.time_ms,
            "removal_body": command.removal_body,
            "removal_signature": command.removal_signature,
        },
    )
    context.write(delete(t.hosts).where(t.hosts.c.host_id == command.node_id))
    leave_aggregates(context, command.node_id)
    forget_host(context, command.node_id)
    for table in (t.role_grants, t.voter_wishes):
        context.write(delete(table).where(table.c.node_id == command.node_id))
    return {}


@handles(HostRegister, lambda command: command.host_id)
def register_host(context: ApplyContext, command: HostRegister) -> Result:
    others = (t.hosts.c.name == command.name) & (t.hosts.c.host_id != command.host_id)
    if context.exists(single(select(t.hosts.c.host_id).where(others))):
        reject("conflict", f"Another host is already named {command.name}.")
    offered = {
        "name": command.name,
        "address": command.address,
        "zone": command.zone,
        "hypervisor_type": command.hypervisor_type,
        "hypervisor_version": command.hypervisor_version,
        "arch": command.arch,
        "vcpus": command.vcpus,
        "memory_mb": command.memory_mb,
        "disk_gb": command.disk_gb,
        "cpu_ratio_milli": command.cpu_ratio_milli,
        "memory_ratio_milli": command.memory_ratio_milli,
        "disk_ratio_milli": command.disk_ratio_milli,
        "reserved_memory_mb": command.reserved_memory_mb,
        "version": command.version,
    }
    row = context.row(single(select(t.hosts).where(t.hosts.c.host_id == command.host_id)))
    if row is None:
        number = next_number(context, HOST_NUMBER)
        made = {"host_id": command.host_id, "number": number, "enabled": True, "disabled_reason": None}
        stamps = {"forced_down": False, "created_ms": context.time_ms, "updated_ms": context.time_ms}
        context.write(insert(t.hosts), {**offered, **made, **stamps})
        return {"number": number}
    if any(getattr(row, name) != value for name, value in offered.items()):
        context.write(
            update(t.hosts)
            .where(t.hosts.c.host_id == command.host_id)
            .values(**offered, updated_ms=context.time_ms)
        )
    return {"number": row.number}


@handles(HostUpdate, lambda command: command.host_id)
def update_host(context: ApplyContext, command: HostUpdate) -> Result:
    need_host(context, command.host_id)
    values: dict[str, object] = {}
    if command.enabled is not None:
        values["enabled"] = command.enabled
        if command.enabled:
            values["disabled_reason"] = None
    if command.disabled_reason is not None and command.enabled is not True:
        values["disabled_reason"] = command.disabled_reason
    if command.forced_down is not None:
        values["forced_down"] = command.forced_down
    if values:
        where = t.hosts.c.host_id == command.host_id
        context.write(update(t.hosts).where(where).values(**values, updated_ms=context.time_ms))
    return {}


@handles(RoleHold, lambda command: command.role)
def hold_role(context: ApplyContext, command: RoleHold) -> Result:
    if not command.role:
        reject("invalid", "A role needs a name.")
    context.write(delete(t.role_grants).where(t.role_grants.c.role == command.role))
    context.write(
        insert(t.role_grants),
        {
            "role": command.role,
            "node_id": command.node_id,
            "fence": context.index,
            "since_ms": context.time_ms,
        },
    )
    return {"fence": context.index}


@handles(VoterWish, lambda command: command.node_id)
def wish_voter(context: ApplyContext, command: VoterWish) -> Result:
    if command.wish not in ("wanted", "unwanted", ""):
        reject("invalid", "A wish is wanted, unwanted or empty.")
    if not context.exists(single(select(t.nodes.c.node_id).where(t.nodes.c.node_id == command.node_id))):
        reject("not_found", f"Node {command.node_id} could not be found.")
    context.write(delete(t.voter_wishes).where(t.voter_wishes.c.node_id == command.node_id))
    if command.wish:
        context.write(insert(t.voter_wishes), {"node_id": command.node_id, "wish": command.wish})
    return {}

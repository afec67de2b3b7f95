"""A node gets another name: its row, its host's, and whatever names that host changes with it."""

from __future__ import annotations

from sqlalchemy import Table, select, update

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result, reject, single
from fabric.store.apply.registry import handles
from fabric.store.tables import level2, level3
from proto.commands.nodes import NodeRename

# Servers and moves that may go nowhere but to one host. What a move says of its ends is history, and stays.
_BOUND_BY_NAME: tuple[Table, ...] = (t.servers, level3.moves, level3.shelved_servers)


@handles(NodeRename, lambda command: command.node_id)
def rename_node(context: ApplyContext, command: NodeRename) -> Result:
    row = context.row(single(select(t.nodes).where(t.nodes.c.node_id == command.node_id)))
    if row is None:
        reject("not_found", f"Node {command.node_id} is not a member of this fabric.")
    if bytes(row.certificate) == command.certificate:
        return {"was": row.name}
    if command.generation <= row.generation:
        reject("stale", f"Node {command.node_id} has a newer certificate by now. Ask again.")
    _need_free_name(context, command)
    context.write(
        update(t.nodes)
        .where(t.nodes.c.node_id == command.node_id)
        .values(
            name=command.name,
            certificate=command.certificate,
            generation=command.generation,
            body=command.body,
            signature=command.signature,
        )
    )
    context.write(
        update(t.hosts)
        .where((t.hosts.c.host_id == command.node_id) & (t.hosts.c.name != command.name))
        .values(name=command.name, updated_ms=context.time_ms)
    )
    for table in _BOUND_BY_NAME:
        bound = table.c.host_wanted == row.name
        context.write(update(table).where(bound).values(host_wanted=command.name))
    return {"was": row.name}


def _need_free_name(context: ApplyContext, command: NodeRename) -> None:
    outside = level2.outside_providers
    holders = (
        ("node", t.nodes, t.nodes.c.node_id),
        ("host", t.hosts, t.hosts.c.host_id),
        ("resource provider", outside, outside.c.provider_id),
    )
    for what, table, by_id in holders:
        taken = (table.c.name == command.name) & (by_id != command.node_id)
        if context.exists(single(select(by_id).where(taken))):
            reject("conflict", f"Another {what} is already named {command.name}. Choose another name.")

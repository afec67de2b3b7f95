"""A node gets another name: its row, its host's, and whatever names that host changes with it."""

from __future__ import annotations

from sqlalchemy import Table, update

from fabric.store import tables as t
from fabric.store.apply.context import ApplyContext, Result
from fabric.store.apply.nodes import need_free_name, need_node_before
from fabric.store.apply.registry import handles
from fabric.store.tables import level2, level3
from proto.commands.nodes import NodeRename

# Servers and moves that may go nowhere but to one host. What a move says of its ends is history, and stays.
_BOUND_BY_NAME: tuple[Table, ...] = (t.servers, level3.moves, level3.shelved_servers)


@handles(NodeRename, lambda command: command.node_id)
def rename_node(context: ApplyContext, command: NodeRename) -> Result:
    row = need_node_before(context, command)
    if bytes(row.certificate) == command.certificate:
        return {"was": row.name}
    need_free_name(context, command)
    need_free_name(context, command, what="host", by_id=t.hosts.c.host_id)
    outside = level2.outside_providers.c.provider_id
    need_free_name(context, command, what="resource provider", by_id=outside)
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

"""Applied commands as part of the fabric's story: what `fabric events` shows beside the members'."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.queries import AppliedEntry
from fabric.runtime.events import EventLog
from proto.commands import Command
from proto.commands.moves import (
    MoveAbort,
    MoveArrived,
    MoveBegin,
    MoveConfirm,
    MoveForce,
    MovePlace,
    MoveRevert,
    MoveUnplaceable,
)
from proto.commands.nodes import HostUpdate, NodeAdmit, NodeRemove, NodeRename, NodeRenew, RoleHold
from proto.commands.servers import (
    ServerAct,
    ServerCreate,
    ServerCreateAlike,
    ServerCreateHinted,
    ServerExpire,
    ServerObserved,
    ServerPin,
    ServerPlace,
    ServerRemoved,
    ServerUnplaceable,
)
from proto.commands.shelving import ServerShelve, ServerShelved, ServerUnshelve
from proto.ids import NodeId

NameOf = Callable[[NodeId], str | None]

_OF_SERVERS: dict[type[Command], str] = {
    ServerCreate: "server.create",
    ServerCreateHinted: "server.create",
    ServerCreateAlike: "server.create",
    ServerPlace: "server.placed",
    ServerUnplaceable: "server.unplaceable",
    ServerObserved: "server.observed",
    ServerRemoved: "server.removed",
    ServerExpire: "server.expired",
    MoveBegin: "server.move_begun",
    MovePlace: "server.move_placed",
    MoveUnplaceable: "server.move_unplaceable",
    MoveConfirm: "server.move_confirmed",
    MoveRevert: "server.move_reverted",
    MoveArrived: "server.move_arrived",
    MoveAbort: "server.move_abort",
    MoveForce: "server.move_force",
    ServerShelve: "server.shelve",
    ServerShelved: "server.shelved",
    ServerUnshelve: "server.unshelve",
}
_BY_HOSTS = (ServerPlace, ServerObserved, ServerRemoved, ServerShelved, MovePlace, MoveArrived)
_OF_NODES: dict[type[Command], str] = {
    NodeAdmit: "node.admitted",
    NodeRenew: "node.certified",
    NodeRename: "node.renamed",
    NodeRemove: "node.removed",
}


class ControlStory:
    """A listener of a HardState."""

    def __init__(self, events: EventLog, name_of: NameOf, *, node: str) -> None:
        """`node` is this node's name: of what happens to no other node in particular."""
        self._events = events
        self._name_of = name_of
        self._node = node

    def tell(self, entry: AppliedEntry) -> None:
        command = entry.command
        if type(command) in _OF_NODES:
            self._tell_of_node(entry)
        elif isinstance(command, RoleHold):
            fields = {"role": command.role, "fence": str(entry.index)}
            self._events.add("role.granted", self._named(command.node_id), fields)
        elif isinstance(command, HostUpdate):
            if command.enabled is not None:
                event, reason = told_of_drain(command)
                fields = {"id": command.host_id, "reason": reason}
                self._events.add(event, self._named(command.host_id), fields)
        else:
            self._tell_of_server(entry)

    def _tell_of_node(self, entry: AppliedEntry) -> None:
        command = entry.command
        node_id: NodeId = command.node_id  # type: ignore[attr-defined]
        name = command.name if isinstance(command, NodeAdmit | NodeRename) else self._named(node_id)
        fields = {"id": node_id, "index": str(entry.index)}
        if isinstance(command, NodeRename):
            fields["reason"] = f"it was {entry.applied.result.get('was')}"
        self._events.add(_OF_NODES[type(command)], name, fields)

    def _tell_of_server(self, entry: AppliedEntry) -> None:
        command = entry.command
        event = _OF_SERVERS.get(type(command))
        if isinstance(command, ServerAct):
            event = f"server.{command.verb}"
        if isinstance(command, ServerPin):
            event = "server.unpin" if command.zone is None else "server.pin"
        if event is None:
            return
        node = self._node
        if isinstance(command, _BY_HOSTS):
            node = self._named(command.host_id)
        fields = {"server": str(command.server_id), "index": str(entry.index)}  # type: ignore[attr-defined]
        told = {**self._told_of_move(command), **_told_where(command), **_told_why(command)}
        self._events.add(event, node, {**fields, **told})
        if isinstance(command, ServerCreateAlike):
            for other in command.others:
                self._events.add(event, node, {**fields, "server": str(other.server_id)})
        came_to = entry.applied.result.get("move")
        if came_to is not None:
            why = entry.applied.result.get("why")
            self._events.add(
                f"server.move_{came_to}", node, fields if why is None else {**fields, "reason": str(why)}
            )

    def _told_of_move(self, command: Command) -> dict[str, str]:
        if not isinstance(command, MoveBegin):
            return {}
        to = {} if command.host_name is None else {"to": command.host_name}
        return {"kind": command.kind, "from": self._named(command.source_host_id), **to}

    def _named(self, node_id: NodeId) -> str:
        return self._name_of(node_id) or node_id


def _told_where(command: Command) -> dict[str, str]:
    if isinstance(command, ServerPin) and command.zone is not None:
        return {"zone": command.zone}
    return {}


def _told_why(command: Command) -> dict[str, str]:
    """What went wrong, as whoever saw it said."""
    if isinstance(command, MoveUnplaceable | ServerUnplaceable):
        return {"reason": command.message}
    if isinstance(command, ServerExpire):
        return {"reason": command.reason}
    failed = command.fault_message if isinstance(command, ServerObserved) else None
    return {} if failed is None else {"reason": failed}


def told_of_drain(command: HostUpdate) -> tuple[str, str]:
    """(event, reason) of a host that takes no new servers, or takes them again."""
    if command.enabled:
        return "node.undrained", "it takes new servers again"
    why = f": {command.disabled_reason}" if command.disabled_reason else ""
    return "node.drained", f"it takes no new servers{why}"

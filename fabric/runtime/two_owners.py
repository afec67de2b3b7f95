"""Tells when two processes use one node's identity, as the copy of a state directory makes them do."""

from __future__ import annotations

from fabric.core.membership.model import Member, MemberState
from fabric.runtime.events import EventLog
from proto.ids import NodeId

PAUSE_MS = 10_000  # one event a node: the two outbid each other several times a second


class OwnersWatch:
    """`changed` is a watcher of the membership loop."""

    def __init__(self, events: EventLog) -> None:
        self._events = events
        self._told_ms: dict[NodeId, int] = {}  # bounded by the table

    def changed(self, member: Member, before: MemberState | None) -> None:
        node_id = member.record.node_id
        if member.state is MemberState.FORGOTTEN:
            self._told_ms.pop(node_id, None)
            return
        told_ms = self._told_ms.get(node_id)
        if member.rival_ms is None or (told_ms is not None and member.rival_ms - told_ms < PAUSE_MS):
            return
        self._told_ms[node_id] = member.rival_ms
        one, other = sorted((member.record.endpoint, member.rival_endpoint))
        reason = f"two processes use its identity, at {one} and {other}: stop the wrong one"
        self._events.add("member.two_owners", member.record.name, {"id": node_id, "reason": reason})

"""Newcomers this node has let in, until enough others know them.

Every member refuses whom it does not know, so a newcomer whose door dies before anybody heard of it would
knock in vain. A door that has run for long is part of the tree and tells it that way. One that has just
joined itself may have links to newcomers only, who are in the same case: it tells everybody who lets it in.
"""

from __future__ import annotations

from fabric.core.membership.broadcast import batches
from fabric.core.membership.context import YOUNG_MS, Context
from fabric.core.membership.links import Links
from proto.ids import NodeId
from proto.membership import State

TOLD_ENOUGH = 3  # members that know a newcomer; each tells all it is linked to


class Introductions:
    def __init__(self, context: Context, links: Links) -> None:
        self._context = context
        self._links = links
        self._told: dict[NodeId, set[NodeId]] = {}  # newcomers let in -> members told of them

    def add(self, newcomer: NodeId) -> None:
        if self._context.uptime_ms >= YOUNG_MS:
            self._told.clear()
            return
        self._told[newcomer] = set()
        for other in sorted(self._links.up):
            self.on_reached(other)

    def on_reached(self, other: NodeId) -> None:
        """`other` lets this node in."""
        context = self._context
        if other in self._told:
            return
        untold = [n for n, told in self._told.items() if len(told) < TOLD_ENOUGH and other not in told]
        for newcomer in untold:
            self._told[newcomer].add(other)
        states = [entry.signed.state for n in untold if (entry := context.table.get(n)) is not None]
        for batch in batches(states, context.config.states_bytes_max):
            context.send(other, State(states=batch))

"""Looks at this node's own part in the mesh once a second and tells what changed: links that went bad,
isolation, and frames that had to be thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.mesh_view import MeshView, is_cut_off
from proto.ids import NodeId

LOOK_INTERVAL_S = 1.0
TOLD_AGAIN_MS = 60_000  # one event a minute about one reason: a stranger who redials for ever is one story
CUT_OFF_LOOKS = 3
# These happen on a healthy mesh: links come and go, answers come too late.
ORDINARY_REASONS = frozenset(
    {
        "closed",
        "duplicate_call",
        "handshake_failed",
        "no_link_or_full",
        "queue_full",
        "queue_link_lost",
        "sender_removed",
        "unknown_call",
    }
)


class MeshWatch:
    def __init__(
        self,
        view: MeshView,
        dropped: Callable[[], Mapping[str, int]],
        events: EventLog,
        clock: Clock,
        *,
        name: str,
    ) -> None:
        self._view = view
        self._dropped = dropped
        self._events = events
        self._clock = clock
        self._name = name
        self._bad: dict[NodeId, str] = {}
        self._cut_off_looks = 0
        self._is_told_cut_off = False
        self._counts: dict[str, int] = {}
        self._grown_ms: dict[str, int] = {}
        self._told_ms: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def look(self) -> None:
        self._look_at_links()
        self._look_at_isolation()
        self._look_at_drops()

    def dropped_lately(self, within_ms: int) -> Mapping[str, int]:
        """Reasons that still happen: how long ago each was last seen to grow, in milliseconds."""
        now_ms = self._clock.monotonic_ms()
        ages = {reason: now_ms - grown_ms for reason, grown_ms in self._grown_ms.items()}
        return {reason: age_ms for reason, age_ms in ages.items() if age_ms <= within_ms}

    def _look_at_links(self) -> None:
        links = self._view.links()
        linked = {link.node_id for link in links if not link.is_bad}
        bad = {link.node_id: link.name for link in links if link.is_bad}
        for node_id in bad.keys() - self._bad.keys():
            reason = "others reach that node and we do not; `fabric doctor mesh` looks why"
            self._events.add("link.bad", bad[node_id], {"id": node_id, "reason": reason})
        for node_id in self._bad.keys() & linked:
            reason = "the two are neighbours again"
            self._events.add("link.good", self._bad[node_id], {"id": node_id, "reason": reason})
        self._bad = {
            n: name for n, name in (self._bad | bad).items() if n not in linked and self._view.member(n)
        }

    def _look_at_isolation(self) -> None:
        """A node that has just started hears nobody for a moment, which is no story."""
        self._cut_off_looks = self._cut_off_looks + 1 if is_cut_off(self._view) else 0
        is_cut_off_now = self._cut_off_looks >= CUT_OFF_LOOKS
        if self._is_told_cut_off and self._cut_off_looks == 0:
            self._events.add("node.connected", self._name, {"reason": "this node hears others again"})
        elif is_cut_off_now and not self._is_told_cut_off:
            self._events.add("node.isolated", self._name, {"reason": "this node hears nobody"})
        self._is_told_cut_off = is_cut_off_now

    def _look_at_drops(self) -> None:
        now_ms = self._clock.monotonic_ms()
        for reason, count in self._dropped().items():
            if count <= self._counts.get(reason, 0):
                continue
            self._counts[reason] = count
            self._grown_ms[reason] = now_ms
            told_ms = self._told_ms.get(reason)
            if reason in ORDINARY_REASONS or (told_ms is not None and now_ms - told_ms < TOLD_AGAIN_MS):
                continue
            self._told_ms[reason] = now_ms
            self._events.add("mesh.dropped", self._name, {"reason": reason, "count": str(count)})

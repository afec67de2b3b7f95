"""What the autopilot remembers from one look to the next. It only ever makes it wait."""

from __future__ import annotations

from fabric.core.voters.facts import Facts
from fabric.core.voters.view import View
from proto.ids import NodeId, VoterId, node_of


class Memory:
    def __init__(self) -> None:
        self._looked_ms: int | None = None
        self._awake_ms = 0
        self._caught_up_ms: dict[VoterId, int] = {}
        self._able_ms: dict[NodeId, int] = {}
        self._invited_ms: dict[NodeId, int] = {}
        self._moved_ms = 0

    def look(self, facts: Facts, now_ms: int) -> View:
        """Who pauses in between (a sleeping machine) heard nobody meanwhile: that is not their silence."""
        if self._looked_ms is None:
            self._moved_ms = now_ms  # whether the leader before just moved one is not known
        if self._looked_ms is None or now_ms - self._looked_ms >= facts.config.quiet_after_ms:
            self._awake_ms = now_ms
            self._caught_up_ms.clear()
            self._able_ms.clear()
        self._looked_ms = now_ms
        for node in facts.nodes:
            self._able_ms.setdefault(node.node_id, now_ms)
            if node.is_alive:
                self._able_ms[node.node_id] = now_ms
        view = View(
            facts=facts,
            now_ms=now_ms,
            awake_ms=self._awake_ms,
            caught_up_ms=self._caught_up_ms,
            able_ms=self._able_ms,
            by_id={node.node_id: node for node in facts.nodes},
        )
        self._note_caught_up(view)
        self._forget_answered_invitations(view)
        return view

    def invited(self, node_id: NodeId, now_ms: int) -> None:
        self._invited_ms[node_id] = now_ms

    def moved(self, now_ms: int) -> None:
        self._moved_ms = now_ms

    def may_move(self, view: View) -> bool:
        return view.now_ms - self._moved_ms >= view.config.move_interval_ms

    def invitation(self, view: View) -> NodeId | None:
        """The node that was invited and may still answer."""
        out = [id_ for id_, at in self._invited_ms.items() if view.now_ms - at < view.config.invite_ms]
        return out[0] if out else None

    def rests(self, node_id: NodeId, view: View) -> bool:
        """It was invited and did not come: others first."""
        at = self._invited_ms.get(node_id)
        return at is not None and view.now_ms - at < view.config.invite_again_ms

    def _note_caught_up(self, view: View) -> None:
        members = view.facts.configuration.members
        for voter in members:
            known = view.facts.members.get(voter)
            is_near = known is not None and known.lag < view.config.caught_up_entries
            if is_near and view.answers(voter) and view.node(voter).is_alive:
                self._caught_up_ms.setdefault(voter, view.now_ms)
            else:
                self._caught_up_ms.pop(voter, None)
        for voter in [voter for voter in self._caught_up_ms if voter not in members]:
            del self._caught_up_ms[voter]

    def _forget_answered_invitations(self, view: View) -> None:
        for voter in view.facts.configuration.members:
            if view.answers(voter):
                self._invited_ms.pop(node_of(voter), None)

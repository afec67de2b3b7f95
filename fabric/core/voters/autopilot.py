"""The leader's autopilot: facts in, a step or none out. Replace and grow first, then tidy up, then go a
level up, then invite."""

from __future__ import annotations

from fabric.core.voters.choice import choose_move, choose_voters, is_safe
from fabric.core.voters.explain import explain, why
from fabric.core.voters.facts import AddLearner, Facts, RaiseLevel, Reconfigure, Step
from fabric.core.voters.learners import beside, next_invitation, without_surplus
from fabric.core.voters.memory import Memory
from fabric.core.voters.view import View
from proto.ids import VoterId


class Autopilot:
    """One for each time that this node leads: a new leader trusts only its own eyes."""

    def __init__(self) -> None:
        self._memory = Memory()
        self._view: View | None = None

    def decide(self, facts: Facts, now_ms: int) -> Step | None:
        """The next step towards the voters that should be; None: nothing to do, or wait.

        To be called about every second, with what is so at that moment. Never a step while a change is under
        way: two at once need majorities that nobody checked.
        """
        view = self._view = self._memory.look(facts, now_ms)
        if facts.configuration.is_joint or facts.is_changing or facts.me not in view.voters:
            return None
        if not is_safe(view, view.voters):
            return None
        return (
            self._change_voters(view)
            or self._drop_learners(view)
            or self._raise_level(view)
            or self._invite(view)
        )

    def explain(self) -> str:
        """What it waits for since the last look, in one sentence."""
        if self._view is None:
            return "the leader has not looked yet"
        return explain(self._view, self._memory)

    def _change_voters(self, view: View) -> Step | None:
        voters = choose_voters(view)
        if voters == view.voters and self._memory.may_move(view):
            voters = choose_move(view)
            if voters != view.voters:
                self._memory.moved(view.now_ms)
        return None if voters == view.voters else _step(view, voters, beside(view, voters))

    def _drop_learners(self, view: View) -> Step | None:
        kept = without_surplus(view)
        return None if kept == view.learners else _step(view, view.voters, kept)

    def _raise_level(self, view: View) -> Step | None:
        """Before another is invited, who would have to be able as well."""
        to = view.next_level
        return (
            None if to is None else RaiseLevel(to=to, reason=f"every voter and standby can apply level {to}")
        )

    def _invite(self, view: View) -> Step | None:
        node = next_invitation(view, self._memory)
        if node is None:
            return None
        self._memory.invited(node.node_id, view.now_ms)
        is_member = node.node_id in view.facts.configuration.nodes
        does = "is silent: does it still have its disk?" if is_member else "is to stand by"
        return AddLearner(node_id=node.node_id, reason=f"{node.name} {does}")


def _step(view: View, voters: frozenset[VoterId], learners: frozenset[VoterId]) -> Reconfigure:
    return Reconfigure(voters=voters, learners=learners, reason=why(view, voters, learners))

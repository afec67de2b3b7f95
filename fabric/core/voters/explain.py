"""The autopilot in plain words, for `fabric voters` and for the log."""

from __future__ import annotations

from collections.abc import Iterable

from fabric.core.voters.memory import Memory
from fabric.core.voters.view import View
from proto.ids import VoterId, node_of

SECOND_MS = 1_000
UNABLE = " (cannot apply the log)"


def why(view: View, voters: frozenset[VoterId], learners: frozenset[VoterId]) -> str:
    """What a change does: "h5 instead of h3 (dead)"."""
    begin, end = _names(view, voters - view.voters), view.voters - voters
    dropped = view.learners - voters - learners
    out = ", ".join(f"{_name(view, voter)}{_flaw(view, voter)}" for voter in _sorted(view, end))
    parts = []
    if begin and out:
        parts.append(f"{begin} instead of {out}")
    elif begin:
        parts.append(f"{begin} begin to vote" if len(voters - view.voters) > 1 else f"{begin} begins to vote")
    elif out:
        parts.append(f"without {out}: {len(voters)} instead of {len(view.voters)} voters")
    if dropped:
        flawed = ", ".join(f"{_name(view, each)}{_flaw(view, each)}" for each in _sorted(view, dropped))
        parts.append(f"no longer standing by: {flawed}")
    return "; ".join(parts)


def explain(view: View, memory: Memory) -> str:
    """The first thing that keeps the voters from being what they should be; else what they can bear."""
    for reason in (
        _blocked(view),
        _missing(view),
        _unwanted(view),
        _catching_up(view),
        _held_back(view),
        _invited(view, memory),
    ):
        if reason:
            return reason
    return _calm(view)


def _blocked(view: View) -> str:
    configuration = view.facts.configuration
    if configuration.is_joint or view.facts.is_changing:
        return "a change of the voters is under way"
    if not view.has_quorum(view.voters):
        answering = sum(map(view.is_well, view.voters))
        return f"{answering} of {len(view.voters)} voters answer, no majority: nothing can be changed"
    return ""


def _missing(view: View) -> str:
    after_s = view.config.dead_after_ms // SECOND_MS
    for voter in _sorted(view, view.voters):
        name, silent_s = _name(view, voter), view.silent_ms(voter) // SECOND_MS
        if view.is_lost(voter):
            return f"node {name} came back without its disk: replaced when {_who_may_replace(view)}"
        if view.answers(voter):
            continue
        if view.is_dead(voter):
            if not _may_be_replaced(view):
                return f"node {name} is dead since {silent_s} s, and there is no other node to vote instead"
            return f"node {name} is dead since {silent_s} s: replaced when {_who_may_replace(view)}"
        if view.node(voter).is_alive:
            return f"voter {name} has not answered for {silent_s} s though its node is alive: not replaced"
        return f"node {name} is dead since {silent_s} s: replaced at {after_s} s"
    return ""


def _unwanted(view: View) -> str:
    for voter in _sorted(view, view.voters):
        if _flaw(view, voter) == UNABLE:
            name, cure = _name(view, voter), "run a newer version there, or it stops voting"
            return f"{name} cannot apply level {view.facts.level}: {cure} when {_who_may_replace(view)}"
        if view.is_unwanted(node_of(voter)):
            return f"{_name(view, voter)} is to stop voting: it does when {_who_may_replace(view)}"
    return ""


def _catching_up(view: View) -> str:
    behind = [each for each in view.learners if view.stays(each) and not view.is_ready(each)]
    if not behind or len(view.voters) >= view.size_for(view.able):
        return ""
    are = "1 voter is" if len(behind) == 1 else f"{len(behind)} voters are"
    return f"{are} not caught up yet: {_progress(view, behind)}"


def _invited(view: View, memory: Memory) -> str:
    node_id = memory.invitation(view)
    node = view.by_id.get(node_id) if node_id is not None else None
    return f"{node.name} is invited to stand by and has not come yet" if node is not None else ""


def _held_back(view: View) -> str:
    behind = ", ".join(f"{_name(view, each)} (level {view.node(each).levels})" for each in view.holding_back)
    return f"level {view.facts.level + 1} waits for a newer version on {behind}" if behind else ""


def _calm(view: View) -> str:
    leader = _name(view, view.facts.me)
    if len(view.voters) == 1:
        if view.able <= 1:
            return f"the fabric has one node that may vote: losing {leader} stops changes until it is back"
        if view.able == 2 and len(view.learners) == 1:
            stops = f"losing {leader} stops changes until it is back"
            return f"the fabric has two nodes: one voter and one standby; {stops}"
        return f"one voter by the operator's word: losing {leader} stops changes until it is back"
    spare = view.spare(view.voters)
    standbys = sum(map(view.is_ready, view.learners))
    bear = "none of them may die" if spare < 1 else f"any {spare} of them may die"
    return f"nothing to do: {len(view.voters)} voters, {bear}; {standbys} ready to replace them"


def _may_be_replaced(view: View) -> bool:
    voting = {node_of(voter) for voter in view.voters if not view.is_gone(voter)}
    return any(view.could_vote(node) and node.node_id not in voting for node in view.facts.nodes)


def _who_may_replace(view: View) -> str:
    behind = [each for each in view.learners if view.stays(each) and not view.is_ready(each)]
    return f"a standby has caught up{f': {_progress(view, behind)}' if behind else ''}"


def _progress(view: View, learners: Iterable[VoterId]) -> str:
    return ", ".join(f"{_name(view, each)} ({_how_far(view, each)})" for each in _sorted(view, learners))


def _how_far(view: View, learner: VoterId) -> str:
    known = view.facts.members.get(learner)
    if known is None or not view.answers(learner):
        return "does not answer"
    if known.lag >= view.config.caught_up_entries:
        return f"{known.lag:,} entries behind"
    since = view.caught_up_ms.get(learner, view.now_ms)
    left_s = -(-max(0, view.config.stable_ms - view.now_ms + since) // SECOND_MS)
    return f"caught up, watched for another {left_s} s" if left_s else "its node has just started"


def _flaw(view: View, voter: VoterId) -> str:
    node = view.node(voter)
    if view.is_lost(voter):
        return " (lost its disk)"
    if view.is_dead(voter):
        return " (dead)"
    if view.is_unwanted(node.node_id):
        return " (not wanted)"
    if not node.is_eligible:
        return " (may not vote)"
    return "" if view.can_apply(node) else UNABLE


def _name(view: View, voter: VoterId) -> str:
    return view.node(voter).name


def _names(view: View, voters: Iterable[VoterId]) -> str:
    return ", ".join(_name(view, voter) for voter in _sorted(view, voters))


def _sorted(view: View, voters: Iterable[VoterId]) -> list[VoterId]:
    return sorted(voters, key=lambda voter: (_name(view, voter), voter))

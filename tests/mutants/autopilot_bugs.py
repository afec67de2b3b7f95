"""Bugs in deciding who votes, who stands by and who holds a role."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

RULES = "tests/unit/core/voters/test_autopilot.py"
ROLES = "tests/unit/core/voters/test_roles.py"
LIFE = "tests/sim/test_autopilot.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/core/voters/{file}", old=old, new=new, tests=tests)


AUTOPILOT_BUGS = (
    bug(
        "the voters are changed while a change is under way",
        S,
        "autopilot.py",
        "        if facts.configuration.is_joint or facts.is_changing or facts.me not in view.voters:\n",
        "        if facts.me not in view.voters:\n",
        RULES,
        LIFE,
    ),
    bug(
        "the voters are changed without a majority that answers",
        S,
        "choice.py",
        "    return bool(voters) and view.has_quorum(view.voters) and view.has_quorum(voters)\n",
        "    return bool(voters)\n",
        RULES,
    ),
    bug(
        "gossip alone buries a voter",
        S,
        "view.py",
        "self.silent_ms(voter) >= self.config.dead_after_ms and not self.node(voter).is_alive\n",
        "not self.node(voter).is_alive\n",
        RULES,
    ),
    bug(
        "a voter that the leader cannot hear is replaced though its node lives",
        S,
        "view.py",
        " and not self.node(voter).is_alive\n",
        "\n",
        RULES,
    ),
    bug(
        "a learner votes before it is caught up",
        S,
        "memory.py",
        "known.lag < view.config.caught_up_entries",
        "known.lag >= 0",
        RULES,
        LIFE,
    ),
    bug(
        "a learner votes the moment it is caught up",
        S,
        "view.py",
        "        return since is not None and self.now_ms - since >= self.config.stable_ms\n",
        "        return since is not None\n",
        RULES,
    ),
    bug(
        "it grows by one at a time",
        S,
        "config.py",
        "SIZES = (1, 3, 5)",
        "SIZES = (1, 2, 3, 4, 5)",
        RULES,
        LIFE,
    ),
    bug(
        "the leader removes itself for a better place",
        S,
        "choice.py",
        "        lambda voter: voter == facts.me and is_voter(voter),\n",
        "",
        RULES,
        LIFE,
    ),
    bug(
        "the dead are dropped though nobody replaces them",
        S,
        "choice.py",
        "        lambda voter: is_filler(voter) and not view.is_lost(voter),\n        is_filler,\n",
        "",
        RULES,
    ),
    bug(
        "three voters are torn down because one is not wanted and its replacement is late",
        S,
        "choice.py",
        "    may_wait = view.lately_able >= len(view.voters)\n",
        "    may_wait = False\n",
        RULES,
    ),
    bug(
        "five shrink to one because of a wish and two that just died",
        S,
        "choice.py",
        "    most = target or max(view.size_for(view.able), present)\n",
        "    most = view.size_for(view.able)\n",
        RULES,
    ),
    bug(
        "who died a moment ago counts towards a majority that is well",
        S,
        "view.py",
        "return voter == self.facts.me or (self.answers(voter) and self.node(voter).is_alive)",
        "return self.answers(voter)",
        RULES,
    ),
    bug(
        "a leader that slept buries all others",
        S,
        "view.py",
        "max(self.awake_ms, known.answered_ms if known is not None else self.awake_ms)",
        "(known.answered_ms if known is not None else self.awake_ms)",
        RULES,
    ),
    bug(
        "five with two dead wait for ever with none to spare",
        L,
        "choice.py",
        "    return view.spare(voters), size % 2 == 1,",
        "    return min(0, view.spare(voters)), size % 2 == 1,",
        RULES,
    ),
    bug(
        "a voter without its old disk is kept beside its new name",
        L,
        "view.py",
        "        return self.is_dead(voter) or self.is_lost(voter)\n",
        "        return self.is_dead(voter)\n",
        RULES,
        LIFE,
    ),
    bug(
        "nobody asks a silent voter whether it has its disk",
        L,
        "learners.py",
        "pick(silent or wanted or fresh,",
        "pick(wanted or fresh,",
        RULES,
        LIFE,
    ),
    bug(
        "one node that does not come keeps all others from being invited",
        L,
        "learners.py",
        "if view.is_settled(node) and not memory.rests(node.node_id, view)",
        "if view.is_settled(node)",
        RULES,
    ),
    bug(
        "dead learners take the places of living ones",
        L,
        "learners.py",
        "        if view.stays(member) and not _is_doubled(view, member, voters)\n",
        "        if not _is_doubled(view, member, voters)\n",
        RULES,
    ),
    bug(
        "two zones pass the majority to and fro",
        L,
        "spread.py",
        "    return node.zone != crowded and zones[node.zone] + 1 < zones[crowded]\n",
        "    return node.zone != crowded\n",
        RULES,
        LIFE,
    ),
    bug(
        "voters are moved for the spread as often as possible",
        L,
        "memory.py",
        "        return view.now_ms - self._moved_ms >= view.config.move_interval_ms\n",
        "        return True\n",
        RULES,
    ),
    bug(
        "an old grant is renewed",
        S,
        "leases.py",
        "known is None or known[0].fence != fence or now_ms",
        "known is None or now_ms",
        ROLES,
    ),
    bug(
        "a new leader takes all roles from their holders",
        L,
        "leases.py",
        "        for grant in grants:\n            self.grant(grant, now_ms)\n",
        "        for grant in grants:\n            self.grant(grant, now_ms - self._ttl_ms)\n",
        ROLES,
    ),
    bug(
        "the scheduler moves though its holder is well",
        L,
        "roles.py",
        "    if current is not None and current in candidates:\n",
        "    if False:\n",
        ROLES,
    ),
)

"""The bugs of the gossip layer: each is one that membership protocols have really had, or that a reviewer
would fear."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

CORE = "fabric/core/membership/"
INTRODUCTIONS = "tests/unit/core/membership/test_introductions.py"
COURT, LEARNER = "tests/unit/core/membership/test_court.py", "tests/unit/core/membership/test_learner.py"
OWN_LOAD, TIMERS = "tests/unit/core/membership/test_own_load.py", "tests/unit/core/membership/test_timers.py"
DEATHS, CABLES = "tests/sim/test_membership_deaths.py", "tests/sim/test_membership_cables.py"
JOINED = "tests/sim/test_membership_joins.py::test_thirty_nodes_join_at_once_and_none_is_left_behind"
DETECTOR = "tests/unit/core/membership/test_detector.py"
HEALED = f"{CABLES}::test_sixty_forty_split_and_heal"
SILENT = f"{DEATHS}::test_a_silent_host_is_down_in_time"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=CORE + file, old=old, new=new, tests=tests)


MEMBERSHIP_BUGS = (
    bug(
        "an older record replaces a newer one",
        S,
        "learner.py",
        "        if signed.order <= old.order:\n",
        "        if signed.order == old.order:\n",
        LEARNER,
    ),
    bug(
        "a record nobody signed is believed",
        S,
        "learner.py",
        "        reason = context.trust.doubt(state, signed.record)\n",
        "        reason = None\n",
        LEARNER,
    ),
    bug(
        "one who left comes back without a new epoch",
        S,
        "learner.py",
        "        if old.presence is Presence.LEFT and is_same_epoch:\n",
        "        if False:\n",
        LEARNER,
    ),
    bug(
        "a removed node returns by hearsay",
        S,
        "learner.py",
        "        if node_id in self._anti_entropy.removals:\n            "
        'self._context.refuse(source, "removed")\n',
        '        if False:\n            self._context.refuse(source, "removed")\n',
        LEARNER,
    ),
    bug(
        "a removal that nobody signed is believed and passed on",
        S,
        "learner.py",
        "        node_id = context.trust.removed(removal)\n",
        "        from proto.membership import decode_removal\n\n"
        "        node_id: NodeId | None = decode_removal(removal.body)[1]\n",
        LEARNER,
    ),
    bug(
        "a spent certificate is accepted again",
        S,
        "learner.py",
        '            self._context.refuse(source, "certificate_spent")\n            return False\n',
        "            pass\n",
        LEARNER,
    ),
    bug(
        "a removed node keeps its links",
        S,
        "learner.py",
        "        context.emit(ExpelPeer(node_id))\n",
        "",
        LEARNER,
    ),
    bug(
        "a load of another epoch is taken for this one's",
        S,
        "learner.py",
        "        if entry is None or load.epoch != entry.signed.record.epoch:\n",
        "        if entry is None:\n",
        LEARNER,
    ),
    bug(
        "an old load replaces a newer one",
        S,
        "learner.py",
        "        if entry.load is not None and load.version <= entry.load.version:\n",
        "        if entry.load is not None and load.version == entry.load.version:\n",
        LEARNER,
    ),
    bug(
        "a forged load of our own is left standing",
        S,
        "own_load.py",
        "            self._say(min(max(theirs.version, self._version) + 1, NUMBER_MAX))\n",
        "            pass\n",
        OWN_LOAD,
    ),
    bug(
        "every change of load is told at once, whatever the budget",
        L,
        "own_load.py",
        "        return max(config.load_interval_ms, self._context.living() * "
        "1_000 // config.fabric_loads_per_s)\n",
        "        return 0\n",
        OWN_LOAD,
    ),
    bug(
        "a vote that nobody signed is counted",
        S,
        "court.py",
        "        if vote.voter == context.my_id or not is_genuine(context, vote):\n",
        "        if vote.voter == context.my_id:\n",
        COURT,
    ),
    bug(
        "a verdict is believed without its votes",
        S,
        "court.py",
        "        if not self._is_proven(verdict):\n            "
        'context.refuse(sender, "verdict_not_proven")\n',
        '        if False:\n            context.refuse(sender, "verdict_not_proven")\n',
        COURT,
    ),
    bug(
        "one vote is enough for a verdict",
        S,
        "court.py",
        "        return min(self._context.config.votes_wanted, able)\n",
        "        return 1\n",
        COURT,
    ),
    bug(
        "an accusation that was refuted counts again",
        S,
        "court.py",
        "        if (vote.epoch, vote.incarnation) < (record.epoch, record.incarnation):\n",
        "        if False:\n",
        COURT,
    ),
    bug(
        "a vote that reached the accused does not end the case",
        S,
        "court.py",
        "            if case is not None:\n                self._on_reachable(case, entry, vote)\n",
        "            pass\n",
        COURT,
    ),
    bug(
        "one liar keeps a dead member alive for ever",
        L,
        "court.py",
        "        if self._cancels[key] > CANCELS_MAX and "
        "len(case.confirming()) >= self._wanted(case.target):\n",
        "        if False:\n",
        COURT,
    ),
    bug(
        "a node that hears nobody accuses everybody",
        S,
        "doubt.py",
        "        if heard == 0 and context.living() - 1 > config.doubt_suspects_min:\n",
        "        if False:\n",
        COURT,
    ),
    bug(
        "a lie about our own future self is outbid to the end of numbers",
        S,
        "court.py",
        "        return ahead > (0, 0) and ahead[0] >= 0 and is_near and self._is_proven(verdict)\n",
        "        return ahead > (0, 0)\n",
        COURT,
    ),
    bug(
        "the accused never hears that it is accused, and does not refute",
        S,
        "court.py",
        "                is_accused |= (\n",
        "                is_accused &= (\n",
        COURT,
    ),
    bug(
        "a node does not answer accusations with a higher incarnation",
        S,
        "own_record.py",
        "            record = replace(me, incarnation=min(incarnation + 1, "
        "NUMBER_MAX), version=me.version + 1)\n",
        "            record = replace(me, version=me.version + 1)\n",
        COURT,
    ),
    bug(
        "of two living owners of one id both stay",
        S,
        "own_record.py",
        "in self._outgrown and self._is_older(theirs, age_ms):\n",
        "in self._outgrown and False:\n",
        LEARNER,
    ),
    bug(
        "a young door tells its newcomers to nobody but its links",
        L,
        "learner.py",
        "        self._introductions.add(node_id)\n",
        "",
        INTRODUCTIONS,
    ),
    bug(
        "a newcomer waits for the next batch of news",
        L,
        "learner.py",
        "        self._broadcaster.push_state(node_id, None)\n        self._broadcaster.flush()\n",
        "        self._broadcaster.push_state(node_id, None)\n",
        INTRODUCTIONS,
    ),
    bug(
        "a vote that is outvoted is passed on for ever",
        S,
        "court.py",
        "            case.votes[vote.voter] = vote  # seen: it must not be passed on again and again\n",
        "",
        COURT,
    ),
    bug(
        "an epoch raised above a forgotten self is not made durable",
        S,
        "own_record.py",
        "        self._context.emit(RaiseEpoch(Epoch(epoch)))\n",
        "",
        LEARNER,
    ),
    bug(
        "a tombstone that served its time is dropped whole, so an old record revives the dead",
        S,
        "tombstones.py",
        "        entry.load = None\n        context.table.vouch(entry)\n        "
        "context.table.rehash(entry)\n",
        "        context.table.remove(entry.node_id)\n",
        LEARNER,
    ),
    bug(
        "a node that slept blames the others for its own silence",
        S,
        "membership.py",
        "            self._detector.on_lag(lag_ms)\n            self._court.on_lag(lag_ms)\n",
        "            pass\n",
        DETECTOR,
    ),
    bug(
        "a stuck agent is called down like a dead one",
        S,
        "court.py",
        "            Finding.STALLED: Doom.STALLED,\n",
        "            Finding.STALLED: Doom.AGENT_DOWN,\n",
        COURT,
    ),
    bug(
        "silence of a neighbour is never looked into",
        L,
        "detector.py",
        "            if context.now_ms - silent_since_ms >= limit_ms:\n",
        "            if False:\n",
        SILENT,
    ),
    bug(
        "a refused link is no evidence",
        L,
        "detector.py",
        "            self._refused.add(node_id)\n",
        "",
        COURT,
    ),
    bug(
        "nobody dials the dead, so a split never heals",
        L,
        "detector.py",
        "                self._recheck(entry, entry.verdict)\n",
        "                pass\n",
        HEALED,
    ),
    bug(
        "news is not passed on",
        L,
        "broadcast.py",
        "        self._push_out(waiting, is_load=lane.is_load)\n",
        "",
        LEARNER,
    ),
    bug(
        "what a lazy link tells of is never asked for, and digests are not answered",
        L,
        "anti_entropy.py",
        "                if differing:\n                    self._send_versions(sender, differing)\n",
        "                pass\n",
        HEALED,
    ),
    bug(
        "members known from disk only stay suspect for ever",
        L,
        "anti_entropy.py",
        "            self._context.send(sender, "
        "Have(versions=Versions.of(vouched[at : at + VERSIONS_MAX])))\n"
        "        for at in range(0, len(wanted), VERSIONS_MAX):\n",
        "            pass\n        for at in range(0, len(wanted), VERSIONS_MAX):\n",
        JOINED,
    ),
    bug(
        "a timer that is set again fires at its old time",
        L,
        "timers.py",
        "            if due.get(key) == at_ms:\n",
        "            if key in due:\n",
        TIMERS,
    ),
)

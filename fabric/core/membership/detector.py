"""Noticing: neighbours that fall silent, members nobody has heard of, the dead that may be back.

Who is found missing is handed to the court. Sources: SWIM for the random probe; design/gossip.md 4.4 for
the three facts.
"""

from __future__ import annotations

from fabric.core.membership.anti_entropy import AntiEntropy, with_age
from fabric.core.membership.context import UNHEARD_MS, YOUNG_MS, Context
from fabric.core.membership.court import Court
from fabric.core.membership.doubt import Doubt
from fabric.core.membership.links import Link, Links
from fabric.core.membership.looks import Looks
from fabric.core.membership.model import DOWN_STATES, GONE_STATES, MemberState
from fabric.core.membership.table import Entry
from fabric.core.membership.tombstones import Tombstones
from proto.ids import NodeId
from proto.membership import Down, DropReason, Finding, Verdict

HEARD_LATELY_MS = 1_950  # every living neighbour was heard within a beat and a half
MUTE_LOOKS_MAX = 2  # answers to looks without a beat, before the link is given up
RECHECKS_MAX = 16  # dead members looked at in one round
RTT_FACTOR = 4
IDLE_UNHEARD_MS = 3_000
GHOST_MS = 20_000  # a member nobody vouches for, accuses or votes about in so long is known to this node only
MEASURE_MS = 10_000  # the round trip of one neighbour is measured this often
MEASURE_FIRST_MS = 500
REFUSED_SPREAD_MS = 40  # a small part of the refused window; about the time one vote needs to reach all


class Detector:
    def __init__(
        self,
        context: Context,
        links: Links,
        looks: Looks,
        court: Court,
        anti_entropy: AntiEntropy,
        tombstones: Tombstones,
        doubt: Doubt,
    ) -> None:
        self._context = context
        self._links = links
        self._looks = looks
        self._court = court
        self._anti_entropy = anti_entropy
        self._tombstones = tombstones
        self._strangers: list[NodeId] = []  # SWIM's shuffled round
        self._forgotten_round: list[NodeId] = []
        self._strangers_seen = 0
        self._dead_round: list[NodeId] = []
        self._mute: dict[NodeId, int] = {}
        self._unheard_by_us: dict[NodeId, int] = {}
        self._refused: set[NodeId] = set()
        self._measured_next = 0
        self._measures = 0
        self._lates_seen = 0
        self._unheard_looked_ms = -1_000_000_000
        doubt.heard_lately = self.heard_lately

    def start(self) -> None:
        config, context = self._context.config, self._context
        context.wake_in("stranger", context.jittered(config.stranger_interval_ms, 50))
        context.wake_in("unheard", UNHEARD_MS)
        context.wake_in("rtt", MEASURE_FIRST_MS)

    @property
    def is_isolated(self) -> bool:
        """There are members, and none of them is heard."""
        context = self._context
        if context.living() <= 1 and len(context.table) <= 1:
            return False
        horizon_ms = context.now_ms - context.config.silence_ms * 2
        return all(entry.spoke_ms is None or entry.spoke_ms < horizon_ms for entry in context.table)

    def heard_lately(self) -> int:
        horizon_ms = self._context.now_ms - HEARD_LATELY_MS
        return sum(
            1 for entry in self._context.table if entry.spoke_ms is not None and entry.spoke_ms >= horizon_ms
        )

    # Neighbours.

    def on_word(self, entry: Entry) -> None:
        """It spoke to us first-hand."""
        now_ms = self._context.now_ms
        entry.spoke_ms = entry.heard_ms = now_ms
        self._tombstones.revive_ghost(entry)
        if not entry.is_vouched:
            self._context.table.vouch(entry)
            self._context.rejudge(entry)
        self._looks.on_word(entry.node_id)

    def on_beat(self, link: Link) -> None:
        link.heard_ms = self._context.now_ms
        self._mute.pop(link.node_id, None)
        self._unheard_by_us.pop(link.node_id, None)

    def on_lag(self, lag_ms: int) -> None:
        """We slept, not the others: silence we could not have heard through does not count."""
        self._context.awareness.worse()
        self._looks.on_lag(lag_ms)
        for link in self._links.linked.values():
            link.heard_ms = min(self._context.now_ms, link.heard_ms + lag_ms)

    def on_lost(self, node_id: NodeId, *, refused: bool) -> None:
        """A link broke, or a dial failed."""
        entry = self._context.table.get(node_id)
        if entry is None or entry.state in GONE_STATES:
            return
        if refused:
            # All its neighbours hear it in the same millisecond, and three votes do.
            self._refused.add(node_id)
            self._context.timers.set_earlier(
                "refused", self._context.now_ms + self._context.rng.randint(0, REFUSED_SPREAD_MS)
            )
        elif node_id in self._links.linked and node_id not in self._looks:
            self._look_at_neighbour(node_id)

    def measure(self) -> None:
        """The round trip of one neighbour after another."""
        context = self._context
        linked = list(self._links.linked)
        if linked:
            self._measured_next = (self._measured_next + 1) % len(linked)
            self._looks.measure(linked[self._measured_next])
        if context.counters["wakes_late"] == self._lates_seen:
            context.awareness.better()  # a round in time: being starved is not for ever
        self._lates_seen = context.counters["wakes_late"]
        # all of them soon after the start, then one at a time
        is_first_round = self._measures < len(linked)
        self._measures += 1
        context.wake_in("rtt", MEASURE_FIRST_MS if is_first_round else context.jittered(MEASURE_MS))

    def accuse_refused(self) -> None:
        refused, self._refused = self._refused, set()
        for node_id in sorted(refused):
            self._court.accuse(node_id, Finding.REFUSED)

    def check_silence(self) -> None:
        context = self._context
        now_ms = context.now_ms
        next_ms = now_ms + context.config.beat_interval_ms
        patience_ms = context.config.silence_ms * context.awareness.factor
        for link in list(self._links.linked.values()):
            silent_since_ms = max(link.heard_ms, link.looked_ms)
            if now_ms - silent_since_ms < patience_ms:  # no limit is lower, and nearly all are here
                next_ms = min(next_ms, silent_since_ms + patience_ms)
                continue
            limit_ms = self._limit_ms(link)
            if now_ms - silent_since_ms >= limit_ms:
                link.looked_ms = context.now_ms
                if link.node_id not in self._looks:
                    self._look_at_neighbour(link.node_id)
                silent_since_ms = context.now_ms
            next_ms = min(next_ms, silent_since_ms + limit_ms)
        if self._links.linked:
            context.timers.set("silence", max(next_ms, context.now_ms + 1))

    def _limit_ms(self, link: Link) -> int:
        context = self._context
        entry = context.table.get(link.node_id)
        rtt_ms = 0 if entry is None or entry.rtt_us is None else entry.rtt_us // 1_000
        patience_ms = context.config.silence_ms * context.awareness.factor
        return max(patience_ms, RTT_FACTOR * rtt_ms) + link.lag_ms

    def _look_at_neighbour(self, node_id: NodeId) -> None:
        def found(finding: Finding, by_others: bool) -> None:
            link = self._links.get(node_id)
            if finding is not Finding.REACHABLE:
                self._court.accuse(node_id, finding)
            elif link is None:
                return
            elif by_others:
                # Once may be a lost frame; twice without a beat between is a bad link.
                link.looked_ms = self._context.now_ms
                self._unheard_by_us[node_id] = self._unheard_by_us.get(node_id, 0) + 1
                if self._unheard_by_us[node_id] >= MUTE_LOOKS_MAX:
                    del self._unheard_by_us[node_id]
                    self._context.counters["links_bad"] += 1
                    self._links.drop(node_id, DropReason.ERROR)
            else:
                # It answers when asked, and beats do not come: it may not count us a neighbour.
                link.looked_ms = self._context.now_ms
                self._mute[node_id] = self._mute.get(node_id, 0) + 1
                if self._mute[node_id] >= MUTE_LOOKS_MAX:
                    del self._mute[node_id]
                    self._context.counters["links_mute"] += 1
                    self._links.drop(node_id, DropReason.ERROR)

        self._looks.start(node_id, found, is_indirect=True)

    # Everybody else.

    def look_at_stranger(self) -> None:
        """One living member that is no neighbour. Mostly by a knock alone, which costs no handshake; while
        many die at once this goes fast: all neighbours of a dead member may be dead, too."""
        context = self._context
        is_storm = self._court.is_storm()
        self._strangers_seen += 1
        is_close = not is_storm and self._strangers_seen % context.config.stranger_ping_every == 0
        wait_ms = context.config.storm_interval_ms if is_storm else context.config.stranger_interval_ms
        context.wake_in("stranger", context.jittered(wait_ms, 50))
        target = self._next_stranger()
        if target is None:
            return
        node_id = target.node_id

        def found(finding: Finding, by_others: bool) -> None:
            if not is_close and finding is Finding.SILENT:
                self._looks.start(node_id, found_closely, is_indirect=True)
            else:
                found_closely(finding, by_others)

        def found_closely(finding: Finding, by_others: bool) -> None:
            if finding is not Finding.REACHABLE:
                self._court.accuse(node_id, finding)
            elif not by_others and target.root and target.root != context.table.root:
                self._anti_entropy.compare(node_id)

        self._looks.start(node_id, found, has_second_chance=is_close, knock_only=not is_close)

    def _next_stranger(self) -> Entry | None:
        table = self._context.table
        for _ in range(2):
            while self._strangers:
                entry = table.get(self._strangers.pop())
                if entry is None or entry.node_id in self._links.linked or entry.node_id in self._looks:
                    continue
                if entry.state is MemberState.ALIVE:
                    return entry
            self._strangers = [e.node_id for e in table if e.state is MemberState.ALIVE]
            self._context.rng.shuffle(self._strangers)
        return None

    def look_at_unheard(self) -> None:
        """Members known from disk or from the door only, for whom no living member has spoken: their
        deputies look."""
        context = self._context
        unvouched = context.table.unvouched
        context.wake_in("unheard", context.jittered(UNHEARD_MS if unvouched else IDLE_UNHEARD_MS))
        if not unvouched:
            return
        self._anti_entropy.ask_about_unvouched()
        if context.now_ms - self._unheard_looked_ms < context.config.recheck_interval_ms // 2:
            return
        horizon_ms = context.now_ms - context.config.unheard_grace_ms
        for node_id in sorted(unvouched):
            entry = context.table.get(node_id)
            if entry is None or entry.state is not MemberState.SUSPECT or entry.changed_ms > horizon_ms:
                continue
            self._unheard_looked_ms = context.now_ms
            is_ghost = entry.changed_ms <= context.now_ms - GHOST_MS and self.heard_lately() > 0
            if node_id not in self._looks and (is_ghost or self._court.is_deputy(node_id)):
                self._look_at_unheard(entry, is_ghost=is_ghost)

    def _look_at_unheard(self, entry: Entry, *, is_ghost: bool) -> None:
        """A ghost is one that nobody else seems to know: no votes will come, and this node forgets it by
        itself."""

        def found(finding: Finding, by_others: bool) -> None:
            if finding is not Finding.REACHABLE and is_ghost and entry.signed.record.epoch > 0:
                self._tombstones.forget_ghost(entry)
            elif finding is Finding.STALLED and self._context.uptime_ms < YOUNG_MS:
                pass  # its door is open and it does not speak to us: it may not know us yet
            elif finding is not Finding.REACHABLE:
                self._court.accuse(entry.node_id, finding)
            elif not by_others:
                self._anti_entropy.vouch(entry)

        self._looks.start(entry.node_id, found)

    def recheck(self) -> None:
        """The dead, by their deputies: splits heal when somebody dials the other side, and a diagnosis may
        change. And one of the forgotten: a split may outlive the tombstones."""
        context = self._context
        if not self._dead_round:
            self._dead_round = [
                e.node_id for e in context.table if e.state in DOWN_STATES or e.state is MemberState.STALLED
            ]
            if self._dead_round:
                context.rng.shuffle(self._dead_round)
        forgotten = self._next_forgotten()
        if not self._dead_round and forgotten is None:
            return
        context.wake_in("recheck", context.jittered(context.config.recheck_interval_ms))
        looked = 0
        while self._dead_round and looked < RECHECKS_MAX:
            entry = context.table.get(self._dead_round.pop())
            if entry is None or entry.verdict is None or entry.node_id in self._looks:
                continue
            if entry.state in GONE_STATES | {MemberState.STALLED} and self._court.is_deputy(entry.node_id):
                looked += 1
                self._recheck(entry, entry.verdict)
        if forgotten is not None and forgotten.verdict is not None and forgotten.node_id not in self._looks:
            self._recheck(forgotten, forgotten.verdict)

    def _next_forgotten(self) -> Entry | None:
        """Only those that were called down: who said farewell comes back by its own word."""
        table = self._context.table
        for _ in range(2):
            while self._forgotten_round:
                entry = table.get(self._forgotten_round.pop())
                if entry is not None and entry.state is MemberState.FORGOTTEN and entry.verdict is not None:
                    return entry
            self._forgotten_round = [
                e.node_id for e in table if e.state is MemberState.FORGOTTEN and e.verdict is not None
            ]
            self._context.rng.shuffle(self._forgotten_round)
        return None

    def _recheck(self, entry: Entry, verdict: Verdict) -> None:
        def found(finding: Finding, by_others: bool) -> None:
            if finding is not Finding.REACHABLE:
                self._court.accuse(entry.node_id, finding)  # which looks whether that is news
            elif entry.verdict is verdict:
                # It lives and we hold it dead: tell it, so that it can refute, and compare what both sides
                # know.
                self._context.counters["dead_answered"] += 1
                self._context.send(entry.node_id, Down(verdicts=(with_age(entry, self._context.now_ms),)))
                self._anti_entropy.compare(entry.node_id, at_once=True)

        self._looks.start(entry.node_id, found)

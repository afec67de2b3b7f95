"""Accusations and votes, until they amount to a verdict.

A case is about one (member, epoch, incarnation). The accuser's signed vote opens it everywhere; the accused
hears it first and refutes with a higher incarnation; its deputies look for themselves and vote. The window
falls from six times to once its base as independent votes confirm (Lifeguard, "Local Health Aware
Suspicion"), and a verdict needs the votes, whatever the time. One vote that reached the accused ends the
case.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from fabric.core.membership.ballots import deputies, is_genuine, own_vote, votes_wanted
from fabric.core.membership.broadcast import Broadcaster
from fabric.core.membership.case import DOWN_FINDINGS, Case, window_ms
from fabric.core.membership.context import Context
from fabric.core.membership.doubt import Doubt
from fabric.core.membership.links import Links
from fabric.core.membership.looks import Looks
from fabric.core.membership.model import MemberState
from fabric.core.membership.table import Entry
from fabric.core.membership.verdicts import Verdicts, is_current_me
from proto.ids import NodeId
from proto.membership import (
    DropReason,
    Finding,
    Suspect,
    Verdict,
    Vote,
)

ASK_AGAIN_MS = 1_000  # votes are still missing: the accuser looks and asks again
# votes beyond those wanted that are still passed on, in case some voter is not known everywhere
VOTES_SPARE = 2
CASE_LIFE_MS = 20_000  # a case that gathers no votes any more is dropped: whoever is dead is accused again
VOTE_FRESH_MS = 3_000  # who found something longer ago looks again before it judges
RELAY_PATIENCE_MS = 250  # who is no party to the case leaves it so long to those who are
# copies of an ended case's votes, still under way in somebody's queue, open no new one for so long
SETTLED_MS = 3_000
CANCELS_MAX = 3  # cases one voter may end by "reachable" while nobody else reaches the accused


class Court:
    def __init__(
        self,
        context: Context,
        links: Links,
        looks: Looks,
        broadcaster: Broadcaster,
        doubt: Doubt,
        verdicts: Verdicts,
        forget: Callable[[Entry], None],
    ) -> None:
        self._context = context
        self._links = links
        self._looks = looks
        self._broadcaster = broadcaster
        self._forget = forget
        self._cases: dict[NodeId, Case] = {}
        # cases ended by "reachable": until when copies of their votes are old, and each voter's attempt
        self._settled: dict[tuple[NodeId, int, int], tuple[int, dict[NodeId, int]]] = {}
        self._lately: deque[int] = deque()  # when cases were opened: many at once are a storm
        self._doubt = doubt
        self._verdicts = verdicts
        verdicts.on_applied = self._close
        verdicts.on_unproven = self._hear_votes
        verdicts.on_stalled = self.accuse
        self._cancels: dict[tuple[NodeId, NodeId], int] = {}  # (target, voter) -> cases ended by that voter

    # What the rest asks.

    def has_case(self, target: NodeId) -> bool:
        return target in self._cases

    def is_storm(self) -> bool:
        now_ms, config = self._context.now_ms, self._context.config
        while self._lately and self._lately[0] < now_ms - config.doubt_window_ms:
            self._lately.popleft()
        return len(self._lately) > max(config.doubt_suspects_min, self._context.living() // 10)

    def is_deputy(self, target: NodeId) -> bool:
        return self._context.my_id in deputies(self._context, target)

    def accuse(self, target: NodeId, finding: Finding, *, is_seconded: bool = False) -> None:
        """This node looked and did not reach it. `is_seconded`: nor did those it asked."""
        context = self._context
        entry = context.table.get(target)
        if entry is None or entry.state in (MemberState.LEFT, MemberState.LEAVING, MemberState.FORGOTTEN):
            return
        if not self._verdicts.is_worth_it(entry, finding):
            return
        if finding is not Finding.REFUSED and self._doubt.doubts_itself(target):
            context.counters["self_doubts"] += 1
            return
        if context.now_ms - entry.refuted_ms < context.config.link_shunned_ms and not is_seconded:
            self._ask_for_second(entry)
            return
        if self._is_said_already(entry, finding):
            return
        if finding is not Finding.REFUSED and not self._doubt.may_accuse():
            context.counters["accusations_braked"] += 1
            return
        case = self._case(entry)
        context.counters["suspicions"] += 1
        vote = own_vote(context, case, finding)
        self._add(case, vote, entry)
        context.send(target, Suspect(votes=(vote,)))  # Lifeguard's buddy system: the accused hears it first
        self._broadcaster.flood_suspicion(vote, None)

    def _is_said_already(self, entry: Entry, finding: Finding) -> bool:
        case = self._cases.get(entry.node_id)
        if case is None:
            return False
        mine = case.votes.get(self._context.my_id)
        return self._has_enough(case) or (mine is not None and mine.finding is finding and not case.attempt)

    def _ask_for_second(self, entry: Entry) -> None:
        """It refuted us a moment ago, so what we find may be a one-way cut: others have to find it, too."""

        def found(finding: Finding, by_others: bool) -> None:
            if finding is not Finding.REACHABLE and not by_others:
                self.accuse(entry.node_id, finding, is_seconded=True)

        if entry.node_id not in self._looks:
            self._looks.start(entry.node_id, found, is_indirect=True, is_patient=True)

    # What peers say.

    def on_votes(self, sender: NodeId, votes: tuple[Vote, ...], *, opens: bool) -> bool:
        """Whether one of them is about this node and has to be refuted."""
        is_accused = False
        for vote in votes:
            if vote.target == self._context.my_id:
                is_accused |= (
                    vote.finding is not Finding.REACHABLE
                    and is_current_me(self._context, vote)
                    and is_genuine(self._context, vote)
                )
                continue
            self._on_vote(sender, vote, opens=opens)
        return is_accused

    def on_reborn(self, entry: Entry, *, is_refutation: bool) -> None:
        """Its owner spoke with a higher epoch or incarnation: the case is over. When it refutes what we
        ourselves found, our link to it does not carry what it should."""
        case = self._cases.get(entry.node_id)
        if case is not None and case.is_mine and is_refutation:
            entry.refuted_ms = self._context.now_ms
            if entry.node_id in self._links.linked:
                self._context.counters["links_bad"] += 1
                self._links.drop(entry.node_id, DropReason.ERROR)
        if self._close(entry.node_id):
            entry.flaps.append(self._context.now_ms)
            self._context.counters["suspicions_refuted"] += 1
        self._cancels = {key: count for key, count in self._cancels.items() if key[0] != entry.node_id}

    def on_lag(self, lag_ms: int) -> None:
        """We slept: refutations may be waiting behind the very timers that would judge."""
        for case in self._cases.values():
            case.opened_ms = min(self._context.now_ms, case.opened_ms + lag_ms)
            case.last_vote_ms = min(self._context.now_ms, case.last_vote_ms + lag_ms)
            self._context.wake_in(("case", case.target), RELAY_PATIENCE_MS)

    def on_gone(self, target: NodeId) -> None:
        """It left or was removed: nothing to find out any more."""
        self._close(target)

    def on_due(self, target: NodeId) -> None:
        """The case's window, as far as it was known, is over."""
        context = self._context
        case, entry = self._cases.get(target), context.table.get(target)
        if case is None or entry is None:
            return
        due_ms = self._due_ms(case, entry)
        if context.now_ms < due_ms:
            context.timers.set(("case", target), due_ms)
        elif self._has_votes(case, entry):
            is_party = case.is_mine or self.is_deputy(target)
            if not is_party and context.now_ms < due_ms + RELAY_PATIENCE_MS:
                context.timers.set(("case", target), due_ms + RELAY_PATIENCE_MS)
            elif self._has_to_look_first(case):
                context.wake_in(("case", target), ASK_AGAIN_MS)
                self._look_again(case)
            else:
                self._verdicts.reach(case, entry)
        elif context.now_ms - case.last_vote_ms >= CASE_LIFE_MS:
            is_known_here_only = set(case.votes) == {context.my_id} and self._doubt.heard_lately() > 0
            self._close(target)
            if (
                is_known_here_only
                and entry.verdict is None
                and context.now_ms - entry.heard_ms > CASE_LIFE_MS
            ):
                self._forget(entry)  # nobody else seems to remember it
            context.rejudge(entry)
        else:
            context.wake_in(("case", target), ASK_AGAIN_MS)
            if case.is_mine or self.is_deputy(target):
                self._look_again(case)

    # Inner.

    def _on_vote(self, sender: NodeId, vote: Vote, *, opens: bool) -> None:
        context = self._context
        entry = context.table.get(vote.target)
        if entry is None:
            return
        record = entry.signed.record
        if (vote.epoch, vote.incarnation) < (record.epoch, record.incarnation):
            context.counters["votes_stale"] += 1
            return
        if entry.state in (MemberState.LEFT, MemberState.LEAVING, MemberState.FORGOTTEN):
            return
        case = self._cases.get(vote.target)
        if case is not None:
            known = case.votes.get(vote.voter)
            if known is not None and known.attempt >= vote.attempt:
                return  # seen; it was passed on then
        elif vote.attempt <= self._settled_attempt(vote, vote.voter):
            context.counters["votes_stale"] += 1
            return
        elif not opens or not self._verdicts.is_worth_it(entry, vote.finding):
            return
        is_down = vote.finding in DOWN_FINDINGS
        if case is not None and is_down and vote.attempt == 0 and self._has_enough(case):
            # each node passes on the first few votes, so each node gets as many: further ones cost only
            # time
            return
        if vote.voter == context.my_id or not is_genuine(context, vote):
            context.refuse(sender, "bad_vote")
            return
        if vote.finding is Finding.REACHABLE:
            self._broadcaster.flood_vote(vote, sender)
            if case is not None:
                self._on_reachable(case, entry, vote)
            return
        case = case or self._case(entry, vote)
        self._add(case, vote, entry)
        (self._broadcaster.flood_suspicion if opens else self._broadcaster.flood_vote)(vote, sender)
        if context.my_id not in case.votes and (
            self.is_deputy(vote.target) or vote.target in self._links.linked
        ):
            self._look(case)

    def _on_reachable(self, case: Case, entry: Entry, vote: Vote) -> None:
        """Somebody reached it: what we have is a bad link, not a dead node. But one voter alone may not
        keep a member alive for ever against all others."""
        key = (case.target, vote.voter)
        self._cancels[key] = self._cancels.get(key, 0) + 1
        wanted = votes_wanted(self._context, case.target)
        if self._cancels[key] > CANCELS_MAX and len(case.confirming()) >= wanted:
            self._context.counters["votes_outvoted"] += 1
            case.votes[vote.voter] = vote  # seen: it must not be passed on again and again
            return
        case.votes.setdefault(vote.voter, vote)
        self._settle(case)
        self._close(case.target)
        self._context.counters["suspicions_cancelled"] += 1
        self._context.rejudge(entry)
        if case.is_mine and case.target in self._links.linked:
            self._context.counters["links_bad"] += 1
            self._links.drop(case.target, DropReason.ERROR)

    def _settle(self, case: Case) -> None:
        """Else a node whose queue is long hears accusation and answer in turns, and each time tells both to
        all again."""
        now_ms = self._context.now_ms
        self._settled = {about: kept for about, kept in self._settled.items() if kept[0] > now_ms}
        about = (case.target, case.epoch, case.incarnation)
        _, attempts = self._settled.get(about, (0, {}))
        attempts |= {voter: vote.attempt for voter, vote in case.votes.items()}
        self._settled[about] = (now_ms + SETTLED_MS, attempts)

    def _settled_attempt(self, about: Case | Vote, voter: NodeId) -> int:
        """The number of that voter's vote in a case that ended a moment ago; -1: none."""
        until_ms, attempts = self._settled.get((about.target, about.epoch, about.incarnation), (0, {}))
        return attempts.get(voter, -1) if until_ms > self._context.now_ms else -1

    def _has_votes(self, case: Case, entry: Entry) -> bool:
        """A lone voter that never heard the accused in this life may just hold an old address of it."""
        wanted = votes_wanted(self._context, case.target)
        if wanted == 1 and entry.spoke_ms is None and len(self._context.table) > 2:
            return False
        return len(case.confirming()) >= wanted

    def _has_enough(self, case: Case) -> bool:
        return len(case.confirming()) >= self._context.config.votes_wanted + VOTES_SPARE

    def _look(self, case: Case) -> None:
        def found(finding: Finding, by_others: bool) -> None:
            self._say(case, Finding.REACHABLE if by_others else finding)

        self._looks.start(case.target, found)

    def _has_to_look_first(self, case: Case) -> bool:
        if case.is_mine:
            return self._context.now_ms - case.mine_ms > VOTE_FRESH_MS
        return case.is_doubtful

    def _look_again(self, case: Case) -> None:
        case.attempt += 1
        self._look(case)

    def _say(self, case: Case, finding: Finding) -> None:
        """Votes what this node found."""
        context = self._context
        entry = context.table.get(case.target)
        if entry is None or self._cases.get(case.target) is not case:
            return
        if finding in (Finding.SILENT, Finding.STALLED) and self._doubt.doubts_itself(case.target):
            return
        context.counters["votes"] += 1
        vote = own_vote(context, case, finding)
        if finding is Finding.REACHABLE:
            self._broadcaster.flood_vote(vote, None)
            self._on_reachable(case, entry, vote)
        else:
            self._add(case, vote, entry)
            # An accuser that asks again says so again: some may have missed the first time.
            flood = self._broadcaster.flood_suspicion if case.attempt else self._broadcaster.flood_vote
            flood(vote, None)

    def _case(self, entry: Entry, vote: Vote | None = None) -> Case:
        case = self._cases.get(entry.node_id)
        if case is None:
            record, now_ms = entry.signed.record, self._context.now_ms
            case = Case(
                target=entry.node_id,
                epoch=record.epoch if vote is None else vote.epoch,
                incarnation=record.incarnation if vote is None else vote.incarnation,
                opened_ms=now_ms,
                last_vote_ms=now_ms,
                is_doubtful=self._verdicts.has_just_woken,
            )
            # who accuses anew says so: an old number would be taken for a copy
            case.attempt = self._settled_attempt(case, self._context.my_id) + 1
            self._cases[entry.node_id] = case
            self._lately.append(now_ms)
        return case

    def _add(self, case: Case, vote: Vote, entry: Entry) -> None:
        case.votes[vote.voter] = vote
        if vote.voter == self._context.my_id:
            case.mine_ms = self._context.now_ms
        else:
            case.last_vote_ms = self._context.now_ms
        case.is_mine = case.is_mine or vote.voter == self._context.my_id
        entry.is_suspected = True
        self._context.rejudge(entry)
        due_ms = self._due_ms(case, entry)
        if due_ms > self._context.now_ms or self._has_votes(case, entry):
            self._context.timers.set(("case", case.target), max(self._context.now_ms, due_ms))
        else:  # the window is over and votes are missing: asking again has its own pace
            self._context.timers.set_earlier(("case", case.target), self._context.now_ms + ASK_AGAIN_MS)

    def _due_ms(self, case: Case, entry: Entry) -> int:
        config = self._context.config
        horizon_ms = self._context.now_ms - config.flap_window_ms
        entry.flaps = [at for at in entry.flaps if at >= horizon_ms]
        flapping = min(config.flap_factor_max, 1 << min(len(entry.flaps), 8))
        is_refused = case.base_finding() is Finding.REFUSED
        low_ms = (config.suspicion_refused_ms if is_refused else config.suspicion_silent_ms) * flapping
        return case.opened_ms + window_ms(
            len(case.confirming()),
            votes_wanted(self._context, case.target),
            low_ms=low_ms,
            high_ms=low_ms * config.suspicion_max_factor,
        )

    def _hear_votes(self, verdict: Verdict, genuine: Sequence[Vote], entry: Entry) -> None:
        """Its votes do not suffice here, and yet they are votes: with our own they may."""
        if not self._verdicts.is_worth_it(entry, verdict.votes[0].finding):
            return
        votes = [v for v in genuine if v.voter != self._context.my_id]
        if not votes:
            return
        case = self._case(entry, votes[0])
        for vote in votes:
            if vote.voter not in case.votes:
                self._add(case, vote, entry)
        if self._context.my_id not in case.votes:
            self._look(case)

    def _close(self, target: NodeId) -> bool:
        case = self._cases.pop(target, None)
        self._context.timers.cancel(("case", target))
        entry = self._context.table.get(target)
        if entry is not None:
            entry.is_suspected = False
        return case is not None

"""Verdicts: reached here or told by others, believed when they prove themselves, held when they are old.

A verdict carries the votes it rests on, so that nobody has to believe whoever relays it. Of two about one
(member, epoch, incarnation) the higher number counts, then the graver doom, so that all keep the same. One
that was reached long ago about a member that lives for us is looked into before it is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.core.membership.ballots import genuine_votes, is_genuine, votes_wanted
from fabric.core.membership.broadcast import Broadcaster
from fabric.core.membership.case import Case
from fabric.core.membership.context import Context
from fabric.core.membership.links import Links
from fabric.core.membership.looks import Looks
from fabric.core.membership.model import MemberState
from fabric.core.membership.table import Entry, rank_of
from proto.ids import NodeId
from proto.membership import (
    VERDICT_NUMBER_MAX,
    Doom,
    Down,
    Finding,
    Presence,
    Verdict,
    Vote,
)

OLD_VERDICT_MS = 2_000
HELD_MS = 1_500  # time for the owner to hear of an old verdict and to refute it
AHEAD_MAX = 1 << 16  # epochs or incarnations a restored node may be behind


class Verdicts:
    def __init__(self, context: Context, links: Links, looks: Looks, broadcaster: Broadcaster) -> None:
        self._context = context
        self._links = links
        self._looks = looks
        self._broadcaster = broadcaster
        self._held: dict[NodeId, tuple[Verdict, NodeId]] = {}  # old verdicts about the living, and who told
        self._ripe: set[NodeId] = set()
        self._woke_ms = -OLD_VERDICT_MS  # when this node was last found to have slept
        # What the court does about them.
        self.on_applied: Callable[[NodeId], object] = lambda _: None
        self.on_unproven: Callable[[Verdict, Sequence[Vote], Entry], object] = lambda *_: None
        self.on_stalled: Callable[[NodeId, Finding], object] = lambda _target, _finding: None

    def hear(self, sender: NodeId, verdicts: tuple[Verdict, ...]) -> bool:
        """Whether one of them is about this node."""
        is_doomed = False
        for verdict in verdicts:
            if verdict.target == self._context.my_id:
                is_signed = any(is_genuine(self._context, vote) for vote in verdict.votes)
                is_about_me = is_current_me(self._context, verdict)
                is_doomed |= (is_about_me and is_signed) or self._is_later_me(verdict)
            else:
                self._hear(sender, verdict)
        return is_doomed

    def on_held_due(self, target: NodeId) -> None:
        """Its owner has not refuted it: see for ourselves. Only what the look confirms is believed."""
        verdict, sender = self._held.pop(target)
        entry = self._context.table.get(target)
        if entry is None or self._is_outranked(verdict, entry):
            return

        def found(finding: Finding, by_others: bool) -> None:
            if finding is Finding.STALLED:
                self.on_stalled(target, finding)
            elif finding is not Finding.REACHABLE and not by_others:
                self._ripe.add(target)
                self._hear(sender, verdict)
                self._ripe.discard(target)

        self._looks.start(target, found, is_indirect=True)

    def reach(self, case: Case, entry: Entry) -> None:
        context = self._context
        old = entry.verdict
        finding = case.base_finding()
        doom = {
            Finding.REFUSED: Doom.AGENT_DOWN,
            Finding.SILENT: Doom.HOST_DOWN,
            Finding.STALLED: Doom.STALLED,
        }[finding]
        if doom is Doom.STALLED and old is not None and self.is_stalled_long(entry):
            doom = Doom.AGENT_DOWN
        number = 1
        if old is not None and (old.epoch, old.incarnation) == (case.epoch, case.incarnation):
            number = old.number + 1
        number = min(max(number, entry.outbid + 1), VERDICT_NUMBER_MAX)
        votes = sorted(case.confirming(), key=lambda vote: (vote.finding is not finding, vote.voter))
        verdict = Verdict(
            target=case.target,
            epoch=case.epoch,
            incarnation=case.incarnation,
            number=number,
            doom=doom,
            votes=tuple(votes[: context.config.votes_wanted]),
        )
        self._apply(verdict, entry)
        self._broadcaster.flood_verdict(verdict, None)

    def is_worth_it(self, entry: Entry, finding: Finding) -> bool:
        """A dead member is accused again only when what is found would change the verdict."""
        verdict = entry.verdict
        if verdict is None or entry.outbid >= verdict.number:
            return True
        if verdict.doom is Doom.STALLED:
            return finding is not Finding.STALLED or self.is_stalled_long(entry)
        if verdict.doom is Doom.AGENT_DOWN:
            return finding is Finding.SILENT
        return finding in (Finding.REFUSED, Finding.STALLED)

    def is_stalled_long(self, entry: Entry) -> bool:
        is_stalled = entry.verdict is not None and entry.verdict.doom is Doom.STALLED
        return is_stalled and self._context.now_ms - entry.verdict_ms >= self._context.config.stalled_down_ms

    def on_lag(self) -> None:
        self._woke_ms = self._context.now_ms

    @property
    def has_just_woken(self) -> bool:
        """What this node hears now may have waited for it for as long as it slept."""
        return self._context.now_ms < self._woke_ms + OLD_VERDICT_MS

    # Inner.

    def _hear(self, sender: NodeId, verdict: Verdict) -> None:
        entry = self._context.table.get(verdict.target)
        if entry is None or entry.state is MemberState.FORGOTTEN or self._is_outranked(verdict, entry):
            return
        is_old = self._is_old_news(verdict, entry)
        if is_old and self._is_held(verdict):
            return
        votes = genuine_votes(self._context, verdict)
        if not self._do_prove(votes, verdict.target):
            self._context.refuse(sender, "verdict_not_proven")
            self._answer_unproven(verdict, votes, entry, is_old=is_old)
        elif is_old:
            self._hold(verdict, sender)
        else:
            self._apply(verdict, entry)
            self._broadcaster.flood_verdict(verdict, sender)

    def _is_old_news(self, verdict: Verdict, entry: Entry) -> bool:
        """A verdict reached long ago about a member that is not known dead here: a split has healed, or a
        laggard is back."""
        found = entry.verdict
        is_living = entry.is_vouched and (found is None or found.doom is Doom.STALLED)
        is_old = verdict.age_ms >= OLD_VERDICT_MS or self.has_just_woken
        return is_living and is_old and verdict.target not in self._ripe

    def _is_held(self, verdict: Verdict) -> bool:
        held = self._held.get(verdict.target)
        return held is not None and rank_of(held[0]) >= rank_of(verdict)

    def _hold(self, verdict: Verdict, sender: NodeId) -> None:
        """It is passed on at once, to the accused too, and believed only when its owner has not refuted it
        meanwhile."""
        self._held[verdict.target] = (verdict, sender)
        self._context.send(verdict.target, Down(verdicts=(verdict,)))
        self._broadcaster.flood_verdict(verdict, sender)
        self._context.wake_in(("held", verdict.target), HELD_MS)

    def _answer_unproven(
        self, verdict: Verdict, votes: Sequence[Vote], entry: Entry, *, is_old: bool
    ) -> None:
        """Whoever holds it will hold it until the accused refutes it, so the accused has to hear of it. Where
        the accused is in doubt here, too, its votes may serve with our own."""
        record = entry.signed.record
        if votes:
            self._context.send(verdict.target, Down(verdicts=(verdict,)))
        if is_old and not entry.is_suspected:
            return
        if (verdict.epoch, verdict.incarnation) == (record.epoch, record.incarnation):
            entry.outbid = max(entry.outbid, verdict.number)
        self.on_unproven(verdict, votes, entry)

    @staticmethod
    def _is_outranked(verdict: Verdict, entry: Entry) -> bool:
        """By a newer word of its owner, a farewell, or a verdict at least as high."""
        record, old = entry.signed.record, entry.verdict
        about = (verdict.epoch, verdict.incarnation)
        if about < (record.epoch, record.incarnation) or entry.signed.presence is not Presence.HERE:
            return True
        return old is not None and ((old.epoch, old.incarnation), rank_of(old)) >= (about, rank_of(verdict))

    def _is_proven(self, verdict: Verdict) -> bool:
        return self._do_prove(genuine_votes(self._context, verdict), verdict.target)

    def _do_prove(self, genuine: Sequence[Vote], target: NodeId) -> bool:
        return len({vote.voter for vote in genuine}) >= votes_wanted(self._context, target)

    def _apply(self, verdict: Verdict, entry: Entry) -> None:
        context = self._context
        self.on_applied(verdict.target)
        entry.verdict = verdict
        entry.verdict_ms = context.now_ms - verdict.age_ms
        context.table.vouch(entry)
        context.counters[f"verdicts.{verdict.doom.value}"] += 1
        context.rejudge(entry)
        context.table.rehash(entry)
        if verdict.doom is not Doom.STALLED:
            self._links.forget(verdict.target)
        context.timers.set_earlier("recheck", context.now_ms + context.config.recheck_interval_ms // 2)
        context.timers.set_earlier("tombstones", context.now_ms + context.config.down_kept_ms)

    def _is_later_me(self, verdict: Verdict) -> bool:
        """About a self we do not remember: our disk was restored. A lone liar could drive our numbers to
        their end this way, so it takes a proven verdict, and one that is not far ahead."""
        record = self._context.table.me.record
        ahead = (verdict.epoch - record.epoch, verdict.incarnation - record.incarnation)
        is_near = max(ahead) <= AHEAD_MAX
        return ahead > (0, 0) and ahead[0] >= 0 and is_near and self._is_proven(verdict)


def is_current_me(context: Context, about: Vote | Verdict) -> bool:
    """Of a later self of ours others know only by a record we signed, and show it with `Welcome.you`."""
    record = context.table.me.record
    return (about.epoch, about.incarnation) == (record.epoch, record.incarnation)

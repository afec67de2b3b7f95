"""The core: events in, effects out. See the package's docstring for the theory; the parts have the rules."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random
from typing import assert_never

from fabric.core.membership.anti_entropy import AntiEntropy, lacking, with_age
from fabric.core.membership.broadcast import Broadcaster
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.context import Context
from fabric.core.membership.court import Court
from fabric.core.membership.detector import Detector
from fabric.core.membership.doubt import Doubt
from fabric.core.membership.events import (
    Effect,
    Event,
    Knocked,
    LeaveRequested,
    LinkLost,
    LinkUp,
    LocalChanged,
    PeerAdmitted,
    PeerRemoved,
    Persist,
    Received,
    Started,
    Woke,
)
from fabric.core.membership.introductions import Introductions
from fabric.core.membership.learner import Learner
from fabric.core.membership.links import Links
from fabric.core.membership.looks import Looks
from fabric.core.membership.model import LinkView, Member, MemberState, NodeRecord
from fabric.core.membership.own_load import OwnLoad
from fabric.core.membership.own_record import OwnRecord
from fabric.core.membership.record import read_load, sign_record
from fabric.core.membership.table import Entry, Table
from fabric.core.membership.tombstones import Tombstones
from fabric.core.membership.tree import BroadcastTree
from fabric.core.membership.trust import Trust
from fabric.core.membership.verdicts import Verdicts
from proto.ids import NodeId
from proto.membership import (
    Ack,
    Ballot,
    Beat,
    Digest,
    Down,
    Have,
    Hello,
    Leave,
    LinkDrop,
    LinkNo,
    LinkOk,
    LinkReq,
    MembershipMessage,
    Nack,
    NodeState,
    Ping,
    PingReq,
    Presence,
    Prune,
    Removal,
    State,
    Suspect,
    Verdict,
    Vote,
    Want,
    Welcome,
)

_OWN_STATE = {
    Presence.HERE: MemberState.ALIVE,
    Presence.LEAVING: MemberState.LEAVING,
    Presence.LEFT: MemberState.LEFT,
}
STALE_BEATS = 3  # beats of an older epoch after a newer one came: more than can have been under way
STALE_VERDICT_PAUSE_MS = 500


class Membership:
    """One node's view of the fabric. `handle` is the only way in; it never blocks, sleeps or reads a clock.

    `me` must carry this node's certificate and an epoch higher than any it used before. `trust` is pure but
    for the certificates' validity, so the same events give the same effects.
    """

    def __init__(self, me: NodeRecord, config: MembershipConfig, rng: Random, trust: Trust) -> None:
        table = Table(sign_record(me, trust.sign))
        self._context = context = Context(config, rng, trust, table)
        self._links = Links(context, self._hello)
        self._tree = BroadcastTree(context, self._links)
        self._broadcaster = Broadcaster(context, self._links, self._tree)
        self._looks = Looks(context, self._links)
        self._tombstones = Tombstones(context)
        self._doubt = Doubt(context, self._looks)
        self._verdicts = Verdicts(context, self._links, self._looks, self._broadcaster)
        self._court = Court(
            context,
            self._links,
            self._looks,
            self._broadcaster,
            self._doubt,
            self._verdicts,
            self._tombstones.forget_ghost,
        )
        self._anti_entropy = AntiEntropy(context, self._links, self._broadcaster)
        self._detector = Detector(
            context,
            self._links,
            self._looks,
            self._court,
            self._anti_entropy,
            self._tombstones,
            self._doubt,
        )
        self._own = OwnRecord(context, self._broadcaster)
        self._own_load = OwnLoad(context, self._broadcaster, self._tree)
        self._own_load.on_exhausted = self._own.begin_new_epoch
        self._own.on_new_epoch = self._own_load.on_new_epoch
        self._introductions = Introductions(context, self._links)
        self._learner = Learner(
            context,
            self._links,
            self._tree,
            self._broadcaster,
            self._court,
            self._own,
            self._own_load,
            self._anti_entropy,
            self._tombstones,
            self._introductions,
        )
        self._beat_seq = 0
        self._told_verdict: dict[NodeId, int] = {}
        self._is_silent = False  # it has said goodbye, or is quarantined

    # What others ask.

    @property
    def me(self) -> NodeRecord:
        return self._context.table.me.record

    @property
    def own_state(self) -> NodeState:
        return self._context.table.me.state

    @property
    def due_ms(self) -> int | None:
        """When to be told `Woke`; None: never."""
        return None if self._is_silent else self._context.timers.next_ms

    @property
    def root(self) -> bytes:
        return self._context.table.root

    @property
    def counters(self) -> Counter[str]:
        return self._context.counters

    @property
    def awareness(self) -> int:
        """0 is healthy, 8 the worst."""
        return self._context.awareness.score

    @property
    def is_isolated(self) -> bool:
        return self._detector.is_isolated

    def members(self, now_ms: int) -> tuple[Member, ...]:
        """Everybody known, this node too, by name."""
        linked = self._links.linked
        mine = self._mine(now_ms)
        peers = (entry.member(is_linked=entry.node_id in linked) for entry in self._context.table)
        return tuple(sorted((mine, *peers), key=lambda m: (m.record.name, m.record.node_id)))

    def member(self, node_id: NodeId, now_ms: int) -> Member | None:
        if node_id == self.me.node_id:
            return self._mine(now_ms)
        entry = self._context.table.get(node_id)
        return None if entry is None else entry.member(is_linked=node_id in self._links.linked)

    def links(self, now_ms: int) -> tuple[LinkView, ...]:
        return self._links.views()

    def roots_agreeing(self) -> int:
        """Neighbours whose last beat told the same table root as ours."""
        return sum(link.mismatch_since_ms is None for link in self._links.linked.values())

    def states(self) -> tuple[NodeState, ...]:
        """All peers' states as bytes: what is persisted, and what a joining node is told."""
        return tuple(entry.signed.state for entry in self._context.table)

    def removals(self) -> tuple[Removal, ...]:
        return tuple(self._anti_entropy.removals.values())

    # The only way in.

    def handle(self, event: Event, now_ms: int, now_us: int | None = None) -> list[Effect]:
        """Applies one event. The effects are owed in order. `now_us` is the same clock, finer: it only serves
        round trips."""
        context = self._context
        effects: list[Effect] = []
        context.effects, context.now_ms = effects, now_ms
        context.now_us = now_ms * 1_000 if now_us is None else now_us
        self._note_lag()
        if type(event) is Received:
            self._on_received(event.sender, event.message)
        else:
            self._on_event(event)
        due_ms = context.timers.next_ms
        if due_ms is not None and due_ms <= now_ms and not self._is_silent:
            self._fire_due()
        return effects

    def _on_event(self, event: Event) -> None:
        match event:
            case Woke():
                pass
            case Started(known, removals):
                self._on_started(known, removals)
            case Received(sender, message):
                self._on_received(sender, message)
            case LocalChanged():
                self._on_local_changed(event)
            case PeerAdmitted(state):
                self._learner.admit(state)
            case PeerRemoved(removal):
                self._learner.remove(removal, None)
            case LinkUp(node_id):
                self._links.on_up(node_id)
                self._introductions.on_reached(node_id)
                if self._links.is_pinned(node_id) and not self._is_silent:
                    self._context.send(node_id, self._hello())
            case LinkLost(node_id, refused):
                self._links.on_lost(node_id)
                if not self._is_silent:
                    self._detector.on_lost(node_id, refused=refused)
            case Knocked(node_id, finding):
                self._looks.on_knocked(node_id, finding)
            case LeaveRequested(for_good):
                self._on_leave(for_good)
            case _:
                assert_never(event)
        self._note_quarantine()

    # Time.

    def _note_lag(self) -> None:
        """Before any event: after a pause it may be a frame that is heard first, and not the timer."""
        context = self._context
        due_ms = context.timers.next_ms
        if due_ms is None or due_ms >= context.now_ms:
            return
        lag_ms = context.now_ms - due_ms
        context.lag_ms = max(context.lag_ms, lag_ms)
        if lag_ms > context.config.lag_forgiven_ms:
            context.counters["wakes_late"] += 1
            self._detector.on_lag(lag_ms)
            self._court.on_lag(lag_ms)
            self._verdicts.on_lag()

    def _fire_due(self) -> None:
        """What is set anew while this runs, and is due again, waits for its turn: nothing runs for ever."""
        context = self._context
        for _ in range(len(context.table) * 4 + 64):
            popped = context.timers.pop(context.now_ms)
            if popped is None:
                break
            self._fire(popped[0])
        self._note_quarantine()

    def _fire(self, key: object) -> None:
        match key:
            case "beat":
                self._beat()
            case "silence":
                self._detector.check_silence()
            case "flush":
                self._broadcaster.flush()
            case "flush_loads":
                self._broadcaster.flush_loads()
            case "have":
                self._broadcaster.flush_haves()
            case "want":
                self._broadcaster.flush_wants()
            case ("look", target):
                self._looks.on_due(NodeId(str(target)))
            case ("case", target):
                self._court.on_due(NodeId(str(target)))
            case ("held", target):
                self._verdicts.on_held_due(NodeId(str(target)))
            case ("rival", target):
                self._learner.turn_back(NodeId(str(target)))
            case ("grace", target):
                entry = self._context.table.get(NodeId(str(target)))
                if entry is not None:
                    self._context.rejudge(entry)
            case "links":
                self._links.maintain()
            case "swap":
                self._links.swap()
            case "load":
                self._own_load.publish()
            case "load_refresh":
                self._own_load.refresh()
            case "shape":
                self._own_load.shape()
            case "rtt":
                self._detector.measure()
            case "refused":
                self._detector.accuse_refused()
            case "stranger":
                self._detector.look_at_stranger()
            case "unheard":
                self._detector.look_at_unheard()
            case "recheck":
                self._detector.recheck()
            case "tombstones":
                self._tombstones.sweep()
            case "persist":
                self._persist()
            case _:
                raise AssertionError(f"no such timer: {key!r}")

    # This node.

    def _on_started(self, known: tuple[NodeState, ...], removals: tuple[Removal, ...]) -> None:
        context = self._context
        context.started_ms = context.now_ms
        self._own.start()
        self._own_load.start()
        self._beat()
        self._detector.start()
        self._links.swap()
        for removal in removals:
            self._learner.remove(removal, None)
        for state in known:
            self._learner.remember(state)
        context.timers.set("tombstones", context.now_ms + context.config.left_kept_ms // 24)
        self._links.maintain()

    def _on_local_changed(self, change: LocalChanged) -> None:
        if self._is_silent:
            return
        self._own.change(change)
        if change.capacity is not None:
            self._own_load.offer(change.capacity.load, extra=change.extra, urgent=change.urgent)
        elif change.extra is not None:
            self._own_load.offer_extra(change.extra, urgent=change.urgent)

    def _on_leave(self, for_good: bool) -> None:
        if self._is_silent:
            return
        signed = self._own.leave(for_good=for_good)
        self._broadcaster.flush()
        self._broadcaster.flood_leave(signed.state, None)
        self._fall_silent()

    def _note_quarantine(self) -> None:
        if self._own.is_quarantined and not self._is_silent:
            self._broadcaster.flush()
            self._fall_silent()

    def _fall_silent(self) -> None:
        """What it has not written down yet it will not learn again: a node that was removed is told nothing
        any more, and only whose keys it knows can it ask."""
        self._is_silent = True
        if "persist" in self._context.timers:
            self._persist()

    def _persist(self) -> None:
        self._context.emit(Persist(self.states(), self.removals()))

    def _beat(self) -> None:
        context = self._context
        config = context.config
        context.wake_in("beat", context.jittered(config.beat_interval_ms, config.beat_jitter_percent))
        linked = self._links.linked
        if not linked:
            return
        me = self.me
        self._beat_seq += 1
        beat = Beat(
            seq=self._beat_seq,
            epoch=me.epoch,
            incarnation=me.incarnation,
            version=me.version,
            lag_ms=context.lag_ms,
            root=context.table.root,
            members=len(context.table),
            degree=len(linked),
            mark=self._tree.mark,
        )
        context.send_all(tuple(linked), beat)
        context.lag_ms = 0

    def _mine(self, now_ms: int) -> Member:
        return Member(
            record=self.me,
            state=_OWN_STATE[self._own.presence],
            heard_ms=now_ms,
            changed_ms=self._context.started_ms,
            load=read_load(self._context.table.my_load),
        )

    def _hello(self) -> Hello:
        table = self._context.table
        return Hello(state=table.me.state, root=table.root, members=len(table))

    # Peers.

    def _on_received(self, sender: NodeId, message: MembershipMessage) -> None:
        context = self._context
        entry = context.table.get(sender)
        if entry is None or self._is_silent:
            context.refuse(sender, "unknown_sender" if entry is None else "silent")
            return
        if type(message) is Beat:
            self._on_beat(entry, message)
            return
        if type(message) is Ack:  # before it counts as just any word of its sender
            self._looks.on_ack(sender, message)
        self._detector.on_word(entry)
        if not self._on_link_message(entry, message):
            self._on_news(entry, message)
        self._note_quarantine()

    def _on_beat(self, entry: Entry, beat: Beat) -> None:
        """The hot path: 8 a second on every node."""
        now_ms = self._context.now_ms
        record = entry.signed.record
        link = self._links.linked.get(record.node_id)
        if beat.epoch < record.epoch:
            self._on_stale_beat(entry)
            return
        entry.spoke_ms = entry.heard_ms = now_ms
        if entry.state is not MemberState.ALIVE:
            self._detector.on_word(entry)
            self._on_word_of_doomed(entry)
        elif record.node_id in self._looks:
            self._looks.on_word(record.node_id)
        if link is not None:
            self._detector.on_beat(link)
            link.lag_ms = beat.lag_ms
            link.degree = beat.degree
            self._tree.on_mark(link, beat.mark)
            self._anti_entropy.on_root(link, beat.root)
        elif entry.state is MemberState.ALIVE:
            self._links.on_beat_of_stranger(record.node_id)
        if (beat.epoch, beat.incarnation, beat.version) > record.order:
            # News that is on its way, or that we missed: the same timer as for a HAVE decides.
            self._broadcaster.on_have(
                record.node_id,
                [
                    replace(
                        entry.version,
                        epoch=beat.epoch,
                        incarnation=beat.incarnation,
                        version=beat.version,
                    )
                ],
            )

    def _on_word_of_doomed(self, entry: Entry) -> None:
        """It speaks, and we hold it dead or stalled: it may not know, and has to refute itself."""
        now_ms = self._context.now_ms
        if entry.verdict is None:
            return
        if now_ms - self._told_verdict.get(entry.node_id, -STALE_VERDICT_PAUSE_MS) >= STALE_VERDICT_PAUSE_MS:
            self._told_verdict[entry.node_id] = now_ms
            self._context.send(entry.node_id, Down(verdicts=(with_age(entry, now_ms),)))

    def _on_stale_beat(self, entry: Entry) -> None:
        """A beat of an epoch that is over. Frames of the old process may have been under way; when they go
        on, two processes share one id, and the other one is shown the word it has to outbid."""
        if entry.rival is None:
            return
        entry.stale_beats += 1
        if entry.stale_beats >= STALE_BEATS:
            entry.stale_beats = 0
            self._context.counters["rivals_seen"] += 1
            self._learner.turn_to_rival(entry)

    def _on_link_message(self, entry: Entry, message: MembershipMessage) -> bool:
        """What is between two neighbours. False: it is something else."""
        sender, context = entry.node_id, self._context
        match message:
            case Hello(state=state, root=root):
                self._learner.take(state, sender)
                if self._learner.is_rivals(entry, state):
                    self._learner.turn_to_rival(entry)
                    return True
                self._welcome(entry, state)
                self._anti_entropy.on_met(sender, root)
            case Welcome(state=state, root=root, you=you, you_age_ms=age_ms, verdict=verdict):
                self._learner.take(state, sender)
                for mine in you:
                    self._learner.take_other_self(mine, age_ms)
                self._take_verdicts(sender, verdict)
                self._anti_entropy.on_met(sender, root)
            case LinkReq():
                self._links.on_request(sender, message)
            case LinkOk(degree=degree):
                self._links.on_ok(sender, degree)
            case LinkNo():
                self._links.on_no(sender, message)
            case LinkDrop(reason=reason):
                self._links.on_drop(sender, reason)
            case Ping():
                self._looks.on_ping(sender, message)
                self._on_word_of_doomed(entry)
            case Ack():
                pass
            case Nack():
                self._looks.on_nack(sender, message)
            case PingReq():
                self._looks.on_ping_req(sender, message)
            case Prune():
                self._tree.on_prune(sender)
            case _:
                return False
        context.counters["messages_link"] += 1
        return True

    def _on_news(self, entry: Entry, message: MembershipMessage) -> None:
        sender = entry.node_id
        match message:
            case State():
                self._learner.take_all(message, sender)
            case Have(versions=versions):
                self._learner.vouch(versions)
                self._broadcaster.on_have(sender, lacking(versions, self._context))
            case Want(versions=versions, graft=graft):
                if graft:
                    self._tree.on_graft(sender)
                self._anti_entropy.on_want(sender, versions)
            case Suspect(votes=votes):
                self._take_votes(sender, votes, opens=True)
            case Ballot(votes=votes):
                self._take_votes(sender, votes, opens=False)
            case Down(verdicts=verdicts):
                self._take_verdicts(sender, verdicts)
            case Leave(state=state):
                if self._learner.take(state, sender):
                    self._broadcaster.flood_leave(state, sender)
            case Digest():
                self._anti_entropy.on_digest(sender, message)
            case _:
                raise AssertionError(f"no such message: {type(message).__name__}")

    def _welcome(self, entry: Entry, state: NodeState) -> None:
        """Also tells a node what is held against it, so that it can refute at once."""
        table, context = self._context.table, self._context
        is_older = entry.signed.state.body != state.body
        doomed = entry.verdict is not None
        context.send(
            entry.node_id,
            Welcome(
                state=table.me.state,
                root=table.root,
                members=len(table),
                you=(entry.signed.state,) if is_older else (),
                you_age_ms=context.now_ms - entry.said_ms if is_older else 0,
                verdict=(with_age(entry, context.now_ms),) if doomed else (),
            ),
        )

    def _take_votes(self, sender: NodeId, votes: tuple[Vote, ...], *, opens: bool) -> None:
        if self._court.on_votes(sender, votes, opens=opens):
            newest = max((v.epoch, v.incarnation) for v in votes if v.target == self.me.node_id)
            self._own.outbid_incarnation(*newest)

    def _take_verdicts(self, sender: NodeId, verdicts: tuple[Verdict, ...]) -> None:
        if verdicts and self._verdicts.hear(sender, verdicts):
            newest = max((v.epoch, v.incarnation) for v in verdicts if v.target == self.me.node_id)
            self._own.outbid_incarnation(*newest)

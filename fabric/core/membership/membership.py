"""The core: events in, effects out. See the package's docstring for the theory."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import assert_never

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import (
    Effect,
    Event,
    LeaveRequested,
    LinkLost,
    LinkUp,
    LocalChanged,
    Notify,
    Peer,
    PeerAdmitted,
    PeerRemoved,
    Persist,
    RaiseIncarnation,
    Received,
    Refused,
    Send,
    SetPeers,
    Started,
    StartTimer,
    Timer,
    TimerFired,
)
from fabric.core.membership.liveness import Evidence, judge
from fabric.core.membership.model import Capacity, Member, MemberState, NodeRecord
from fabric.core.membership.record import Sign, SignedRecord, Verify, read_state, sign_record
from fabric.core.membership.table import Entry, Table
from proto.errors import WireError
from proto.ids import Incarnation, NodeId
from proto.membership import (
    NUMBER_MAX,
    STATES_MAX,
    Beat,
    Digest,
    Hello,
    MembershipMessage,
    NodeState,
    States,
    Want,
)


class Membership:
    """One node's view of the fabric. `handle` is the only way in; it never blocks, sleeps or reads a clock.

    `me` must carry this node's certificate and an incarnation higher than any it used before. `sign` and
    `verify` are pure (see `record.py`), so the same events give the same effects.
    """

    def __init__(
        self, me: NodeRecord, config: MembershipConfig, rng: Random, *, sign: Sign, verify: Verify
    ) -> None:
        self._config = config
        self._rng = rng
        self._sign = sign
        self._verify = verify
        self._table = Table(sign_record(me, sign))
        self._removed: set[NodeId] = set()
        self._pending_capacity: Capacity | None = None
        self._has_left = False
        self._started_ms = 0
        self._check_due_ms: int | None = None
        self._effects: list[Effect] = []
        self._peers_changed = False

    @property
    def me(self) -> NodeRecord:
        return self._table.me.record

    @property
    def own_state(self) -> NodeState:
        return self._table.me.state

    def members(self, now_ms: int) -> tuple[Member, ...]:
        """Everybody known, this node too, by name."""
        own = MemberState.LEFT if self._has_left else MemberState.ALIVE
        mine = Member(record=self.me, state=own, heard_ms=now_ms, changed_ms=self._started_ms)
        everybody = [mine, *(entry.member() for entry in self._table)]
        return tuple(sorted(everybody, key=lambda m: (m.record.name, m.record.node_id)))

    def member(self, node_id: NodeId, now_ms: int) -> Member | None:
        if node_id == self.me.node_id:
            own = MemberState.LEFT if self._has_left else MemberState.ALIVE
            return Member(record=self.me, state=own, heard_ms=now_ms, changed_ms=self._started_ms)
        entry = self._table.get(node_id)
        return None if entry is None else entry.member()

    def states(self) -> tuple[NodeState, ...]:
        """All peers' states as bytes: what is persisted, and what a joining node is told."""
        return tuple(entry.signed.state for entry in self._table)

    def handle(self, event: Event, now_ms: int) -> list[Effect]:
        """Applies one event. The effects are owed in order."""
        self._effects, self._peers_changed = [], False
        self._dispatch(event, now_ms)
        if self._peers_changed:  # once, however many peers one event brought
            self._effects[:0] = [self._set_peers(), Persist(self.states())]
        return self._effects

    def _dispatch(self, event: Event, now_ms: int) -> None:
        match event:
            case Started(known):
                self._on_started(known, now_ms)
            case Received(sender, message):
                self._on_received(sender, message, now_ms)
            case TimerFired(timer):
                if timer is Timer.BEAT:
                    self._on_beat_due()
                else:
                    self._on_check_due(now_ms)
            case LocalChanged():
                self._on_local_changed(event)
            case PeerAdmitted(state):
                self._on_admitted(state, now_ms)
            case PeerRemoved(node_id):
                self._on_removed(node_id, now_ms)
            case LinkUp(node_id):
                self._send(node_id, self._hello())
            case LinkLost(node_id, refused):
                entry = self._table.get(node_id)
                if refused and entry is not None:
                    entry.evidence.refused(now_ms)
            case LeaveRequested():
                self._on_leave()
            case _:
                assert_never(event)

    # What this node says about itself.

    def _publish(self, record: NodeRecord, *, left: bool = False) -> None:
        """The one place where our own record changes: one version up, signed, pushed to all."""
        self._table.set_me(sign_record(replace(record, version=record.version + 1), self._sign, left=left))
        self._push(self.own_state)

    def _push(self, state: NodeState, *, but: NodeId | None = None) -> None:
        for entry in self._table:
            if entry.signed.record.node_id != but:
                self._send(entry.signed.record.node_id, States(states=(state,)))

    def _on_local_changed(self, change: LocalChanged) -> None:
        if self._has_left:
            return
        me = self.me
        record = replace(
            me,
            roles=me.roles if change.roles is None else change.roles,
            api_urls=me.api_urls if change.api_urls is None else change.api_urls,
            labels=me.labels if change.labels is None else change.labels,
        )
        if change.capacity is not None:
            self._pending_capacity = change.capacity
        if record != me:
            self._publish(self._with_pending(record))

    def _with_pending(self, record: NodeRecord) -> NodeRecord:
        capacity, self._pending_capacity = self._pending_capacity, None
        return record if capacity is None else replace(record, capacity=capacity)

    def _on_leave(self) -> None:
        if not self._has_left:
            self._publish(self.me, left=True)
            self._has_left = True

    # Timers.

    def _on_started(self, known: tuple[NodeState, ...], now_ms: int) -> None:
        self._started_ms = now_ms
        self._start_beat_timer()
        self._start_check_timer(now_ms)
        for state in known:
            self._learn(state, self.me.node_id, now_ms)
        self._peers_changed = True

    def _start_beat_timer(self) -> None:
        jitter_ms = self._config.beat_interval_ms * self._config.beat_jitter_percent // 100
        after_ms = self._config.beat_interval_ms + self._rng.randint(-jitter_ms, jitter_ms)
        self._effects.append(StartTimer(Timer.BEAT, after_ms))

    def _start_check_timer(self, now_ms: int) -> None:
        self._check_due_ms = now_ms + self._config.check_interval_ms
        self._effects.append(StartTimer(Timer.CHECK, self._config.check_interval_ms))

    def _on_beat_due(self) -> None:
        if self._has_left:
            return
        self._start_beat_timer()  # first of the effects: what fails at performing a later one stops no timer
        record = self._with_pending(self.me)
        if record != self.me:
            self._publish(record)
        # The dead are told as well: where the link works again, the beat heals the split.
        beat = Beat(
            incarnation=self.me.incarnation,
            version=self.me.version,
            root=self._table.root,
            members=len(self._table),
        )
        for entry in self._table:
            if entry.state is not MemberState.LEFT:
                self._send(entry.signed.record.node_id, beat)

    def _on_check_due(self, now_ms: int) -> None:
        assert self._check_due_ms is not None
        if self._has_left:
            return
        stalled_ms = now_ms - self._check_due_ms
        self._start_check_timer(now_ms)
        for entry in self._table:
            if stalled_ms > self._config.stall_forgiven_ms:
                entry.evidence.forgive(stalled_ms, now_ms)
            self._rejudge(entry, now_ms)

    # Peers.

    def _rejudge(self, entry: Entry, now_ms: int) -> None:
        if entry.state is not MemberState.LEFT:
            self._set_state(entry, judge(entry.evidence, now_ms, self._config), now_ms)

    def _set_state(self, entry: Entry, state: MemberState, now_ms: int) -> None:
        before = entry.state
        if state is not before:
            entry.state, entry.changed_ms = state, now_ms
            self._effects.append(Notify(entry.member(), before))

    def _on_received(self, sender: NodeId, message: MembershipMessage, now_ms: int) -> None:
        entry = self._table.get(sender)
        if entry is None or self._has_left:
            self._refuse(sender, "unknown_sender" if entry is None else "left")
            return
        match message:
            case Hello(state=state):
                self._learn(state, sender, now_ms)
                self._on_life(entry, now_ms)
                if message.root != self._table.root:
                    self._send_digest(entry)
            case Beat():
                self._on_beat(entry, message, now_ms)
            case States(states=states):
                for state in states:
                    self._learn(state, sender, now_ms)
            case Digest(entries=theirs, answer=answer):
                self._send_states(sender, self._table.newer_than(theirs, only_named=False))
                if answer and self._table.lacks(theirs):
                    self._send(sender, Digest(entries=self._table.known(), answer=False))
            case Want(entries=theirs):
                self._send_states(sender, self._table.newer_than(theirs, only_named=True))
            case _:
                assert_never(message)

    def _on_life(self, entry: Entry, now_ms: int) -> None:
        """The peer itself spoke to us just now."""
        entry.evidence.heard(now_ms)
        self._rejudge(entry, now_ms)

    def _on_beat(self, entry: Entry, beat: Beat, now_ms: int) -> None:
        mine, theirs = entry.signed.order, (beat.incarnation, beat.version)
        self._on_life(entry, now_ms)
        if theirs > mine:
            self._send(entry.signed.record.node_id, Want(entries=(entry.signed.known,)))
        if beat.root == self._table.root:
            entry.mismatches = 0
            return
        entry.mismatches += 1
        knows_more = beat.members > len(self._table)
        if knows_more or entry.mismatches >= self._config.digest_after_mismatches:
            self._send_digest(entry)

    def _send_digest(self, entry: Entry) -> None:
        entry.mismatches = 0
        self._send(entry.signed.record.node_id, Digest(entries=self._table.known(), answer=True))

    def _send_states(self, to: NodeId, newer: list[SignedRecord]) -> None:
        """In as many messages as the bounds ask for."""
        batch: list[NodeState] = []
        size_bytes = 0
        for signed in newer:
            if batch and (
                len(batch) == STATES_MAX
                or size_bytes + signed.state.size_bytes > self._config.states_bytes_max
            ):
                self._send(to, States(states=tuple(batch)))
                batch, size_bytes = [], 0
            batch.append(signed.state)
            size_bytes += signed.state.size_bytes
        if batch:
            self._send(to, States(states=tuple(batch)))

    # Records.

    def _on_admitted(self, state: NodeState, now_ms: int) -> None:
        signed = self._learn(state, self.me.node_id, now_ms)
        if signed is not None:
            self._push(state, but=signed.record.node_id)

    def _learn(self, state: NodeState, source: NodeId, now_ms: int) -> SignedRecord | None:
        """Takes a state into the table if it is newer than ours and proven. Returns it when taken."""
        try:
            signed = read_state(state)
        except WireError as error:
            self._refuse(source, error.reason)
            return None
        node_id = signed.record.node_id
        if node_id in self._removed:
            self._refuse(source, "removed")
            return None
        entry = self._table.get(node_id)
        known = self._table.me if node_id == self.me.node_id else entry.signed if entry else None
        if known is not None and signed.order <= known.order:
            return None
        if known is not None and known.left and signed.record.incarnation == known.record.incarnation:
            self._refuse(source, "spoke_after_leaving")  # the last word of an incarnation is the last
            return None
        reason = self._verify(state, signed.record)
        if reason is not None:
            self._refuse(source, reason)
            return None
        if node_id == self.me.node_id:
            self._outgrow(signed)
        elif entry is None:
            return signed if self._insert(signed, source, now_ms) else None
        else:
            self._replace(entry, signed, now_ms)
        return signed

    def _outgrow(self, signed: SignedRecord) -> None:
        """The fabric has a newer word of ours than we remember: our incarnation file was lost or is an
        old copy. Take the next one, so that what we say now wins."""
        if self._has_left:
            return
        incarnation = Incarnation(min(signed.record.incarnation + 1, NUMBER_MAX))
        self._effects.append(RaiseIncarnation(incarnation))
        self._publish(replace(self.me, incarnation=incarnation))

    def _insert(self, signed: SignedRecord, source: NodeId, now_ms: int) -> bool:
        if len(self._table) >= self._config.members_max:
            oldest = self._table.oldest_left()
            if oldest is None:
                self._refuse(source, "table_full")
                return False
            self._table.remove(oldest)
        state = MemberState.LEFT if signed.left else MemberState.SUSPECT
        entry = Entry(signed=signed, evidence=Evidence(heard_ms=now_ms), state=state, changed_ms=now_ms)
        self._table.insert(entry)
        self._peers_changed = True
        self._effects.append(Notify(entry.member(), None))
        return True

    def _replace(self, entry: Entry, signed: SignedRecord, now_ms: int) -> None:
        old, was_left = entry.signed.record, entry.state is MemberState.LEFT
        self._table.replace(entry, signed)
        new = signed.record
        reborn = new.incarnation > old.incarnation
        moved = new.endpoint != old.endpoint
        before = entry.state
        if reborn:  # a new process: the old one's silence or refusal proves nothing about it
            entry.evidence.refused_first_ms = entry.evidence.refused_last_ms = None
        if signed.left:
            entry.state = MemberState.LEFT
        elif was_left:  # and reborn, else `_learn` had refused it
            entry.evidence = Evidence(heard_ms=now_ms)
            entry.state = MemberState.SUSPECT
        if entry.state is not before:
            entry.changed_ms = now_ms
        if reborn or moved or entry.state is not before:
            self._peers_changed = True
        if entry.state is not before or _matters(old, new):
            self._effects.append(Notify(entry.member(), before))

    def _on_removed(self, node_id: NodeId, now_ms: int) -> None:
        self._removed.add(node_id)
        entry = self._table.remove(node_id)
        if entry is not None:
            before, entry.state, entry.changed_ms = entry.state, MemberState.LEFT, now_ms
            self._peers_changed = True
            self._effects.append(Notify(entry.member(), before))

    # Effects.

    def _hello(self) -> Hello:
        return Hello(state=self.own_state, root=self._table.root, members=len(self._table))

    def _send(self, to: NodeId, message: MembershipMessage) -> None:
        self._effects.append(Send(to, message))

    def _refuse(self, sender: NodeId, reason: str) -> None:
        self._effects.append(Refused(sender, reason))

    def _set_peers(self) -> SetPeers:
        """Those who left keep their link until they are removed: a restarted one must be let in to say so."""
        peers = (entry.signed.record for entry in self._table)
        return SetPeers(tuple(Peer(p.node_id, p.endpoint, p.curve_public) for p in peers))


def _matters(old: NodeRecord, new: NodeRecord) -> bool:
    """Capacity changes every second; only the rest is worth waking listeners for."""
    neutral = {"version": 0, "capacity": Capacity()}
    return replace(old, **neutral) != replace(new, **neutral)  # type: ignore[arg-type]

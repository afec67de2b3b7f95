"""Membership on asyncio: owns the core, feeds it events, performs its effects. Implements `Fleet`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import assert_never

from fabric.core.membership.events import (
    AdmitPeer,
    Broadcast,
    Effect,
    Event,
    ExpelPeer,
    Knock,
    Knocked,
    LeaveRequested,
    LinkLost,
    LinkUp,
    LocalChanged,
    Notify,
    PeerAdmitted,
    PeerRemoved,
    Persist,
    PinLinks,
    Quarantine,
    RaiseEpoch,
    Received,
    Refused,
    Send,
    Started,
    Woke,
)
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import Capacity, LinkView, Load, Member, MemberState, NodeRecord, RoleClaim
from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.probe import probe as tcp_probe
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.clock import Clock
from fabric.runtime.knocker import Knocker, Probe
from fabric.runtime.node_identity import IdentityError, next_epoch
from fabric.runtime.outbox import Outbox
from fabric.runtime.peers_file import load_peers, save_peers
from proto.envelope import Envelope, parse
from proto.errors import WireError
from proto.ids import Epoch, NodeId
from proto.membership import KINDS, Finding, NodeState, Removal
from proto.records import prepare

__all__ = ["MembershipLoop", "save_peers"]

log = logging.getLogger(__name__)

prepare(*KINDS.values(), NodeRecord, Load)

ALIVE_STATES = (MemberState.ALIVE, MemberState.SUSPECT, MemberState.STALLED)

Watcher = Callable[[Member, MemberState | None], None]
OnQuarantine = Callable[[str, str], None]  # the reason, and where the other one lives ("" when removed)


class MembershipLoop:
    """All methods on the event loop's thread. `start` owes the core its first event and its wake-ups."""

    def __init__(
        self,
        core: Membership,
        switchboard: Switchboard,
        clock: Clock,
        directory: Path,
        *,
        on_quarantine: OnQuarantine = lambda reason, endpoint: None,
        probe: Probe = tcp_probe,
    ) -> None:
        """Made before the switchboard starts. `on_quarantine` is called once, after which this node takes no
        part any more: its process should end."""
        self._core = core
        self._switchboard = switchboard
        self._clock = clock
        self._directory = directory
        self._on_quarantine = on_quarantine
        switchboard.route("member", self._on_envelope)
        switchboard.on_link(self._on_link)
        self._outbox = Outbox(switchboard, clock)
        self._knocker = Knocker(probe, self._on_finding)
        self._owed: deque[Effect] = deque()
        self._is_performing = False
        self._ended_by: Quarantine | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_ms = 0  # when it wakes us
        self._is_over = False  # closed or quarantined: the core is told nothing any more
        self._watchers: list[Watcher] = []
        self._listeners: list[Callable[[Member], None]] = []
        self._unsaved: Persist | None = None
        self._saving: asyncio.Task[None] | None = None
        self._raising: set[asyncio.Task[None]] = set()
        self.refused: Counter[str] = Counter()

    # -- Fleet

    @property
    def me(self) -> NodeId:
        return self._core.me.node_id

    def members(self) -> tuple[Member, ...]:
        return self._core.members(self._clock.monotonic_ms())

    def member(self, node_id: NodeId) -> Member | None:
        return self._core.member(node_id, self._clock.monotonic_ms())

    def is_alive(self, node_id: NodeId) -> bool:
        member = self.member(node_id)
        return member is not None and member.state in ALIVE_STATES

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def watch(self, watcher: Watcher) -> None:
        """Like `subscribe`, and told the state before (None: a new member)."""
        self._watchers.append(watcher)

    # -- what an operator asks

    def links(self) -> tuple[LinkView, ...]:
        """This node's neighbours."""
        return self._core.links(self._clock.monotonic_ms())

    def roots_agreeing(self) -> int:
        """Neighbours that know the same as this node, by the root of their last beat."""
        return self._core.roots_agreeing()

    def removals(self) -> tuple[Removal, ...]:
        """Who was removed for ever, in the root's own words: what a joining node is told, too."""
        return self._core.removals()

    @property
    def root(self) -> bytes:
        """8 bytes: hash of all this node knows. Equal on two nodes: they know the same."""
        return self._core.root

    @property
    def counters(self) -> Mapping[str, int]:
        """What the core did since the start: probes, suspicions, refutations, duplicates and so on."""
        return self._core.counters

    @property
    def is_isolated(self) -> bool:
        """So many are out of reach that this node doubts itself before it accuses them."""
        return self._core.is_isolated

    @property
    def awareness(self) -> int:
        """Lifeguard's local health, 0 (well) to 8."""
        return self._core.awareness

    @property
    def waiting(self) -> int:
        """Frames and words about nodes that wait for a link to take them."""
        return self._outbox.waiting

    def dropped(self) -> Mapping[str, int]:
        """What did not go out, by reason."""
        return dict(self._outbox.dropped)

    # -- in

    def start(self) -> None:
        known, removals = load_peers(self._directory)
        self._handle(Started(known=known, removals=removals))

    async def close(self) -> None:
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._outbox.close()
        await self._knocker.close()
        await asyncio.gather(*self._raising)
        if self._saving is not None:
            await self._saving

    def _on_envelope(self, sender: NodeId, envelope: Envelope) -> None:
        """`sender` is proven by its link. A WireError is the switchboard's to count."""
        self._handle(Received(sender, parse(envelope, KINDS)))

    def _on_link(self, node_id: NodeId, fact: LinkFact) -> None:
        if fact is LinkFact.UP:
            self._handle(LinkUp(node_id))
        else:
            self._handle(LinkLost(node_id, refused=fact is LinkFact.REFUSED))
        self._outbox.on_link(node_id, fact)

    def _on_finding(self, node_id: NodeId, finding: Finding) -> None:
        self._handle(Knocked(node_id, finding))

    def _wake(self) -> None:
        self._timer = None
        self._handle(Woke())

    def publish(
        self,
        *,
        roles: tuple[RoleClaim, ...] | None = None,
        api_urls: tuple[str, ...] | None = None,
        capacity: Capacity | None = None,
        labels: Mapping[str, str] | None = None,
        extra: Mapping[str, str] | None = None,
        certificate: bytes | None = None,
        curve_public: bytes | None = None,
        urgent: bool = False,
    ) -> None:
        """Changes what this node says about itself. None: stays. See `LocalChanged`."""
        self._handle(
            LocalChanged(
                roles=roles,
                api_urls=api_urls,
                capacity=capacity,
                labels=labels,
                extra=extra,
                certificate=certificate,
                curve_public=curve_public,
                urgent=urgent,
            )
        )

    def admit(self, state: NodeState) -> None:
        """The authority let this node in; or a join's answer told us of it."""
        self._handle(PeerAdmitted(state))

    def remove(self, removal: Removal) -> None:
        """The root removed a node: it is cut off here before this returns, and everywhere as the word
        spreads."""
        self._handle(PeerRemoved(removal))

    def leave(self, for_good: bool = False) -> None:
        """The last word: for a restart, which the others wait out for a while, or for good."""
        self._handle(LeaveRequested(for_good=for_good))

    def states(self) -> tuple[NodeState, ...]:
        """All members' signed states, this node's first: what a joining node is told."""
        return (self._core.own_state, *self._core.states())

    # -- out

    def _handle(self, event: Event) -> None:
        """A listener may publish while it is told: what follows from that comes after what is owed already,
        else an older effect could undo a newer one."""
        if self._is_over:
            return
        self._owed.extend(self._core.handle(event, self._clock.monotonic_ms()))
        if self._is_performing:
            return
        self._is_performing = True
        try:
            while self._owed:
                self._perform(self._owed.popleft())
        finally:
            self._is_performing = False
        if self._ended_by is not None:
            self._fall_silent(self._ended_by)
        self._arm()

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._outbox.send((to,), message)
            case Broadcast(to, message):
                self._outbox.send(to, message)
            case AdmitPeer(node_id, endpoint, curve_public):
                self._switchboard.admit(node_id, PeerAddress(endpoint, curve_public))
            case ExpelPeer(node_id):
                self._switchboard.expel(node_id)
                self._outbox.forget(node_id)
            case PinLinks(node_ids):
                self._outbox.pin(node_ids)
                self._switchboard.pin(node_ids)
            case Knock(node_id, endpoint):
                self._knocker.knock(node_id, endpoint)
            case Notify(member, before):
                self._notify(member, before)
            case Persist():
                self._save(effect)
            case RaiseEpoch(epoch):
                self._keep_epoch(epoch)
            case Refused(sender, reason):
                self._refused(sender, reason)
            case Quarantine():
                self._ended_by = effect  # its last word is owed still
            case _:
                assert_never(effect)

    def _arm(self) -> None:
        """One timer, only ever moved forward in time by being early: a wake-up too soon costs less than a
        cancelled timer for each message."""
        due_ms = self._core.due_ms
        if due_ms is None or self._is_over or (self._timer is not None and self._timer_ms <= due_ms):
            return
        if self._timer is not None:
            self._timer.cancel()
        delay_s = max(0, due_ms - self._clock.monotonic_ms()) / 1_000
        self._timer_ms = due_ms
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._wake)

    def _notify(self, member: Member, before: MemberState | None) -> None:
        if member.state is not before:
            # A mass join brings hundreds at once; that they are there, the table and the events tell.
            log.log(
                logging.DEBUG if before is None else logging.INFO,
                "member changed",
                extra={"node": member.record.name, "state": member.state.value, "was": before or "unknown"},
            )
        for watcher in tuple(self._watchers):
            _shielded(partial(watcher, member, before))
        for listener in tuple(self._listeners):
            _shielded(partial(listener, member))

    def _fall_silent(self, why: Quarantine) -> None:
        """This node is not the one it says it is. Whatever it still says could only do harm; its last word,
        which points at the other one, leaves while the process stops."""
        if self._is_over:
            return
        log.critical("node quarantined", extra={"reason": why.reason, "endpoint": why.endpoint})
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        _shielded(partial(self._on_quarantine, why.reason, why.endpoint))

    def _keep_epoch(self, epoch: Epoch) -> None:
        """Off the loop: it waits for the disk. What a crash before its end forgets, peers tell us again."""

        async def keep() -> None:
            try:
                await asyncio.to_thread(next_epoch, self._directory, at_least=epoch)
            except (OSError, IdentityError) as error:
                log.warning("epoch not saved", extra={"reason": str(error)})

        task = asyncio.get_running_loop().create_task(keep())
        self._raising.add(task)
        task.add_done_callback(self._raising.discard)

    def _refused(self, sender: NodeId, reason: str) -> None:
        self.refused[reason] += 1
        log.debug("message refused", extra={"node": sender, "reason": reason})

    def _save(self, persist: Persist) -> None:
        """Newest wins: while one write is under way, only the latest next one is kept."""
        self._unsaved = persist
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._write_out())

    async def _write_out(self) -> None:
        while self._unsaved is not None:
            what, self._unsaved = self._unsaved, None
            try:
                await asyncio.to_thread(save_peers, self._directory, what.states, what.removals)
            except (OSError, WireError) as error:
                log.warning("peers not saved", extra={"reason": str(error)})


def _shielded(tell: Callable[[], None]) -> None:
    """One listener's fault is its own: the effects after it are still owed."""
    try:
        tell()
    except Exception:
        log.exception("member listener failed")

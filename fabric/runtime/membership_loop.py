"""Membership on asyncio: owns the core, feeds it events, performs its effects. Implements `Fleet`."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import assert_never

from fabric.core.membership.events import (
    Effect,
    Event,
    LeaveRequested,
    LinkLost,
    LinkUp,
    LocalChanged,
    Notify,
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
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import Capacity, Member, MemberState, RoleClaim
from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.clock import Clock
from fabric.runtime.node_identity import IdentityError, next_incarnation, write_private
from proto.codec import pack, unpack
from proto.envelope import Envelope, parse
from proto.errors import WireError
from proto.ids import Incarnation, NodeId
from proto.membership import KINDS, NodeState
from proto.records import from_wire, to_wire

log = logging.getLogger(__name__)

PEERS_FILE = "peers"
PEERS_BYTES_MAX = 32 << 20

Watcher = Callable[[Member, MemberState | None], None]


class MembershipLoop:
    """All methods on the event loop's thread. `start` owes the core its first event and its timers."""

    def __init__(self, core: Membership, switchboard: Switchboard, clock: Clock, directory: Path) -> None:
        """Made before the switchboard starts."""
        self._core = core
        self._switchboard = switchboard
        self._clock = clock
        self._directory = directory
        switchboard.route("member", self._on_envelope)
        switchboard.on_link(self._on_link)
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._watchers: list[Watcher] = []
        self._listeners: list[Callable[[Member], None]] = []
        self._unsaved: tuple[NodeState, ...] | None = None
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
        """SUSPECT counts: a suspicion is a question, and acting on it would make it an answer."""
        member = self.member(node_id)
        return member is not None and member.state in (
            MemberState.ALIVE,
            MemberState.SUSPECT,
            MemberState.STALLED,
        )

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def watch(self, watcher: Watcher) -> None:
        """Like `subscribe`, and told the state before (None: a new member)."""
        self._watchers.append(watcher)

    # -- in

    def start(self) -> None:
        self._handle(Started(known=_load(self._directory / PEERS_FILE)))

    async def close(self) -> None:
        for handle in self._timers.values():
            handle.cancel()
        self._timers.clear()
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

    def publish(
        self,
        *,
        roles: tuple[RoleClaim, ...] | None = None,
        api_urls: tuple[str, ...] | None = None,
        capacity: Capacity | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Changes what this node says about itself. None: stays."""
        self._handle(LocalChanged(roles=roles, api_urls=api_urls, capacity=capacity, labels=labels))

    def admit(self, state: NodeState) -> None:
        """The authority let this node in; or a join's answer told us of it."""
        self._handle(PeerAdmitted(state))

    def remove(self, node_id: NodeId) -> None:
        self._handle(PeerRemoved(node_id))

    def leave(self) -> None:
        self._handle(LeaveRequested())

    def states(self) -> tuple[NodeState, ...]:
        """All members' signed states, this node's first: what a joining node is told."""
        return (self._core.own_state, *self._core.states())

    # -- out

    def _handle(self, event: Event) -> None:
        for effect in self._core.handle(event, self._clock.monotonic_ms()):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                self._switchboard.send(to, message)
            case StartTimer(timer, after_ms):
                self._start_timer(timer, after_ms)
            case SetPeers(peers):
                self._switchboard.set_peers(
                    {peer.node_id: PeerAddress(peer.endpoint, peer.curve_public) for peer in peers}
                )
            case Notify(member, before):
                self._notify(member, before)
            case Persist(states):
                self._save(states)
            case RaiseIncarnation(incarnation):
                self._keep_incarnation(incarnation)
            case Refused(sender, reason):
                self._refused(sender, reason)
            case _:
                assert_never(effect)

    def _start_timer(self, timer: Timer, after_ms: int) -> None:
        old = self._timers.pop(timer, None)
        if old is not None:
            old.cancel()
        loop = asyncio.get_running_loop()
        self._timers[timer] = loop.call_later(after_ms / 1000, self._handle, TimerFired(timer))

    def _notify(self, member: Member, before: MemberState | None) -> None:
        if member.state is not before:
            log.info(
                "member changed",
                extra={"node": member.record.name, "state": member.state.value, "was": before or "unknown"},
            )
        for watcher in tuple(self._watchers):
            _shielded(partial(watcher, member, before))
        for listener in tuple(self._listeners):
            _shielded(partial(listener, member))

    def _keep_incarnation(self, incarnation: Incarnation) -> None:
        """Off the loop: it waits for the disk. What a crash before its end forgets, peers tell us again."""

        async def keep() -> None:
            try:
                await asyncio.to_thread(next_incarnation, self._directory, at_least=incarnation)
            except (OSError, IdentityError) as error:
                log.warning("incarnation not saved", extra={"reason": str(error)})

        task = asyncio.get_running_loop().create_task(keep())
        self._raising.add(task)
        task.add_done_callback(self._raising.discard)

    def _refused(self, sender: NodeId, reason: str) -> None:
        self.refused[reason] += 1
        log.debug("message refused", extra={"node": sender, "reason": reason})

    def _save(self, states: tuple[NodeState, ...]) -> None:
        """Newest wins: while one write is under way, only the latest next one is kept."""
        self._unsaved = states
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._write_out())

    async def _write_out(self) -> None:
        while self._unsaved is not None:
            states, self._unsaved = self._unsaved, None
            try:
                await asyncio.to_thread(save_peers, self._directory, states)
            except OSError as error:
                log.warning("peers not saved", extra={"reason": error.strerror or str(error)})


def _shielded(tell: Callable[[], None]) -> None:
    """One listener's fault is its own: the effects after it are still owed."""
    try:
        tell()
    except Exception:
        log.exception("member listener failed")


def save_peers(directory: Path, states: tuple[NodeState, ...]) -> None:
    """What `start` begins with next time."""
    data = pack([to_wire(state) for state in states], limit=PEERS_BYTES_MAX)
    write_private(directory / PEERS_FILE, data)


def _load(path: Path) -> tuple[NodeState, ...]:
    """Peers of an earlier life. A damaged file costs nothing but time: seeds and gossip tell again."""
    try:
        plain = unpack(path.read_bytes(), limit=PEERS_BYTES_MAX)
    except FileNotFoundError:
        return ()
    except (OSError, WireError) as error:
        log.warning("peers file not readable", extra={"reason": str(error)})
        return ()
    states = []
    for item in plain if isinstance(plain, list) else []:
        try:
            states.append(from_wire(NodeState, item))
        except WireError as error:
            log.warning("peer not readable", extra={"reason": error.reason})
    return tuple(states)

"""Looking at one member: a knock at its port, a ping, and pings through others.

The knock (one bare TCP connection) costs little and tells three things apart: refused, silent, accepted.
Only a member that accepts is pinged over the mesh, so that looking at the dead costs no handshakes. Source:
SWIM's direct and indirect probes; the three facts are measured in design/gossip.md 3.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fabric.core.membership.context import Context
from fabric.core.membership.events import Knock
from fabric.core.membership.links import Links
from fabric.core.membership.model import MemberState
from proto.ids import NodeId
from proto.membership import Ack, Finding, Nack, Ping, PingReq

RELAY_SHARE_PERCENT = (
    70  # a relay answers within this share of the time-out, so that its nack arrives in time
)
OVERTIME_MAX = 4  # time-outs an own knock may be late
STALL_PINGS = 4  # pings more to a member whose machine accepts, before it is called stalled
RETRIES_MAX = 3  # looks that this node itself slept through are repeated
NONCE_BITS = 48

# (what was found, whether others reached it and we did not)
OnFound = Callable[[Finding, bool], None]


@dataclass(slots=True, eq=False)
class Look:
    target: NodeId
    nonce: int
    started_ms: int
    timeout_ms: int
    knock_only: bool
    waiting: list[OnFound] = field(default_factory=list)
    asked: int = 0  # relays there were; when none of them answers, more is amiss than this node
    relays: set[NodeId] = field(default_factory=set)  # asked, and silent so far
    knocked: Finding | None = None
    is_pinged: bool = False
    pinged_us: int = 0
    retries: int = 0
    is_patient: bool = False
    is_relay: bool = False
    overtime: int = 0
    patience: int = STALL_PINGS
    has_second_chance: bool = False  # others are asked when it does not answer us
    lag_ms: int = 0  # worst lateness of our own while looking


class Looks:
    """At most one look at a member at a time: who asks meanwhile shares it."""

    def __init__(self, context: Context, links: Links) -> None:
        self._context = context
        self._links = links
        self._looks: dict[NodeId, Look] = {}
        self._by_nonce: dict[int, Look] = {}
        self._measured: dict[NodeId, tuple[int, int]] = {}  # pings that only ask for the time: nonce, when

    def __contains__(self, target: NodeId) -> bool:
        return target in self._looks

    def start(
        self,
        target: NodeId,
        on_found: OnFound,
        *,
        is_indirect: bool = False,
        knock_only: bool = False,
        is_relay: bool = False,
        has_second_chance: bool = False,
        is_patient: bool = False,
    ) -> None:
        """`is_indirect` asks others at once, `has_second_chance` only when it does not answer us;
        `is_patient` waits for the others even when we are refused."""
        context = self._context
        entry = context.table.get(target)
        if entry is None:
            return
        look = self._looks.get(target)
        if look is None:
            timeout_ms = context.config.look_timeout_ms * (1 if is_relay else context.awareness.factor)
            if is_relay:
                timeout_ms = timeout_ms * RELAY_SHARE_PERCENT // 100
            look = Look(
                target=target,
                nonce=context.rng.getrandbits(NONCE_BITS),
                started_ms=context.now_ms,
                timeout_ms=timeout_ms,
                knock_only=knock_only,
                is_relay=is_relay,
            )
            self._looks[target] = look
            self._by_nonce[look.nonce] = look
            context.counters["probes"] += 1
            context.emit(Knock(target, entry.signed.record.endpoint))
            if target in self._links.up and not knock_only:
                self._ping(look)
            context.wake_in(("look", target), timeout_ms)
        look.waiting.append(on_found)
        look.is_relay = look.is_relay and is_relay
        look.knock_only = look.knock_only and knock_only
        look.has_second_chance = look.has_second_chance or has_second_chance
        look.is_patient = look.is_patient or is_patient
        if is_indirect and not look.relays:
            self._ask_others(look)

    # What comes in.

    def on_knocked(self, target: NodeId, finding: Finding) -> None:
        look = self._looks.get(target)
        if look is None:
            return
        look.knocked = finding
        if (finding is Finding.REFUSED and not (look.is_patient and look.relays)) or (
            finding is Finding.REACHABLE and look.knock_only
        ):
            self._end(look, finding)
        elif finding is Finding.REACHABLE and not look.is_pinged:
            self._ping(look)

    def on_word(self, sender: NodeId) -> None:
        """Anything a member says first-hand answers every question about it."""
        look = self._looks.get(sender)
        if look is not None:
            self._end(look, Finding.REACHABLE)

    def on_ping(self, sender: NodeId, ping: Ping) -> None:
        self._context.send(sender, self._ack(ping.nonce))

    def on_ack(self, sender: NodeId, ack: Ack) -> None:
        measured = self._measured.pop(sender, None)
        if measured is not None and measured[0] == ack.nonce:
            self._note_rtt(sender, self._context.now_us - measured[1])
        look = self._by_nonce.get(ack.nonce)
        if look is None:
            return
        if sender == look.target:
            entry = self._context.table.get(sender)
            if entry is not None:
                entry.root = ack.root
            if look.is_pinged:
                self._note_rtt(sender, self._context.now_us - look.pinged_us)
            self._end(look, Finding.REACHABLE)
        elif sender in look.relays:
            self._end(look, Finding.REACHABLE, by_others=True)

    def on_nack(self, sender: NodeId, nack: Nack) -> None:
        look = self._by_nonce.get(nack.nonce)
        if look is not None:
            look.relays.discard(sender)
            if look.knocked is Finding.REFUSED and not look.relays:
                self._end(look, Finding.REFUSED)

    def on_ping_req(self, sender: NodeId, request: PingReq) -> None:
        context = self._context
        if request.target == context.my_id:
            context.send(sender, self._ack(request.nonce))
            return
        if request.target not in context.table:
            context.send(sender, Nack(nonce=request.nonce, finding=Finding.SILENT))
            return

        def answer(finding: Finding, by_others: bool) -> None:
            if finding is Finding.REACHABLE and not by_others:
                context.send(sender, self._ack(request.nonce))
            else:
                context.send(sender, Nack(nonce=request.nonce, finding=finding))

        context.counters["probes_for_others"] += 1
        self.start(request.target, answer, is_relay=True)

    def on_due(self, target: NodeId) -> None:
        look = self._looks.get(target)
        if look is None:
            return
        if look.lag_ms > self._context.config.lag_forgiven_ms and look.retries < RETRIES_MAX:
            look.retries += 1  # we slept: the answers may be waiting behind this very timer
            look.lag_ms = 0
            self._context.wake_in(("look", target), look.timeout_ms)
            return
        if look.has_second_chance and not look.relays and look.knocked is not Finding.SILENT:
            look.has_second_chance = False
            self._ask_others(look)
            self._context.wake_in(("look", target), look.timeout_ms)
            return
        if look.knocked is None and look.overtime < OVERTIME_MAX:
            # our own knock has not come back: that says something about us, nothing about it
            look.overtime += 1
            self._context.wake_in(("look", target), look.timeout_ms)
            return
        if look.knocked is Finding.REACHABLE and not look.is_relay and look.patience > 0:
            look.patience -= 1  # its machine is there and its agent is busy: nothing is urgent, ask once more
            self._ping(look)
            self._context.wake_in(("look", target), look.timeout_ms)
            return
        # Lifeguard: a missed nack says that we, not the target, may be unwell
        if 0 < len(look.relays) < look.asked:
            self._context.awareness.worse()
        if look.knocked is Finding.REFUSED:
            self._end(look, Finding.REFUSED)
        else:
            self._end(look, Finding.STALLED if look.knocked is Finding.REACHABLE else Finding.SILENT)

    def on_lag(self, lag_ms: int) -> None:
        for look in self._looks.values():
            look.lag_ms = max(look.lag_ms, lag_ms)

    def measure(self, target: NodeId) -> None:
        """A ping for the round trip's sake."""
        nonce = self._context.rng.getrandbits(NONCE_BITS)
        self._measured[target] = (nonce, self._context.now_us)
        self._context.send(target, Ping(nonce=nonce))

    def forget(self, target: NodeId) -> None:
        look = self._looks.pop(target, None)
        if look is not None:
            self._by_nonce.pop(look.nonce, None)
            self._context.timers.cancel(("look", target))

    # Inner.

    def _ping(self, look: Look) -> None:
        look.is_pinged = True
        look.pinged_us = self._context.now_us
        self._context.send(look.target, Ping(nonce=look.nonce))

    def _note_rtt(self, node_id: NodeId, took_us: int) -> None:
        """Smoothed as TCP does it (RFC 6298, alpha = 1/8)."""
        entry = self._context.table.get(node_id)
        if entry is not None:
            entry.rtt_us = took_us if entry.rtt_us is None else (7 * entry.rtt_us + took_us) // 8

    def _ask_others(self, look: Look) -> None:
        context = self._context
        helpers = [
            link.node_id
            for link in self._links.linked.values()
            if link.node_id != look.target
            and link.is_up
            and (entry := context.table.get(link.node_id)) is not None
            and entry.state is MemberState.ALIVE
        ]
        chosen = context.rng.sample(helpers, min(context.config.indirect_probes, len(helpers)))
        look.relays = set(chosen)
        look.asked = len(chosen)
        for helper in chosen:
            context.send(helper, PingReq(nonce=look.nonce, target=look.target))

    def _ack(self, nonce: int) -> Ack:
        context = self._context
        return Ack(nonce=nonce, lag_ms=context.lag_ms, root=context.table.root, members=len(context.table))

    def _end(self, look: Look, finding: Finding, *, by_others: bool = False) -> None:
        self.forget(look.target)
        if finding is Finding.REACHABLE and not by_others:
            self._context.awareness.better()
        for on_found in look.waiting:
            on_found(finding, by_others)

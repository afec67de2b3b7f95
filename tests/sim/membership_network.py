"""The network between simulated nodes, as `fabric.mesh.contract.Transport` promises it to be.

A link is one directed connection: frames of A to B travel on A's link to B. It exists while B's process
listens and both admit each other. Times are libzmq's (design/gossip.md 3): a killed process shows within
milliseconds, a silent machine only after the heartbeat's timeout, a stuck Python not at all.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from random import Random
from typing import Protocol

from fabric.core.membership.events import AdmitPeer, Event, Knock, Knocked, LinkLost, LinkUp, Received
from proto.envelope import decode, encode, fabric_tag, parse
from proto.errors import WireError
from proto.ids import FabricId, NodeId
from proto.membership import KINDS, Finding, MembershipMessage
from tests.sim.membership_faults import FrameFaults
from tests.sim.membership_node import Pulse, SimNode
from tests.sim.membership_time import Schedule
from tests.sim.membership_trace import Story, Trace

TAG = fabric_tag(FabricId("sim"))

HOP_MS = (1, 2)  # one way on a LAN, scheduling included
RESET_MS = (1, 7)  # until the survivors know of a kill (design/gossip.md 3)
HEARTBEAT_LOST_MS = (7_500, 12_500)  # timeout, and up to one interval until the next ping
NEXT_FRAME_MS = 1_300  # a link that is used carries a beat that often
CONNECT_TIMEOUT_MS = 2_000
KNOCK_TIMEOUT_MS = 500
HANDSHAKE_TIMEOUT_MS = 3_000
REDIAL_MIN_MS, REDIAL_MAX_MS = 100, 2_000
IDLE_MS = 10_000  # an unpinned link without a word is closed
OUTBOX_FRAMES_MAX = 64  # that wait for a link
WAITING_FRAMES_MAX = 1_064  # of one link that a blocked process has not read: both high-water marks


class Packet:
    """One message on its way. However many get it, it is encoded once and, undamaged, decoded once."""

    __slots__ = ("_received", "frame", "kind", "sender")

    def __init__(self, sender: NodeId, kind: str, frame: bytes) -> None:
        self.sender, self.kind, self.frame = sender, kind, frame
        self._received: Received | None = None

    def opened(self) -> Received:
        """Raises WireError, but for frames of the real codec never."""
        if self._received is None:
            self._received = Received(self.sender, parse(decode(self.frame, TAG), KINDS))
        return self._received


class Link:
    """`owner`'s connection to the node it knows as `to`."""

    __slots__ = (
        "delay_ms",
        "endpoint",
        "failures",
        "is_deaf",
        "is_lossy",
        "is_pinned",
        "is_up",
        "is_wedged",
        "last_arrival_ms",
        "outbox",
        "owner",
        "peer",
        "peer_life",
        "serial",
        "silence",
        "to",
        "used_ms",
        "waiting",
    )

    def __init__(self, owner: SimNode, to: NodeId, endpoint: str) -> None:
        self.owner, self.to, self.endpoint = owner, to, endpoint
        self.peer: SimNode = owner  # who was reached; means something while `is_up`
        self.peer_life = 0
        self.serial = 0  # grows with each change of state: what was planned before is void
        self.silence = 0  # likewise, of its deafness
        self.failures = 0
        self.used_ms = 0
        self.waiting = 0
        self.delay_ms = 0
        self.last_arrival_ms = 0
        self.is_up = self.is_pinned = False
        self.is_deaf = False  # heartbeats go unanswered: it will break
        self.is_lossy = False  # packets vanish
        self.is_wedged = False  # frames vanish and the connection lives (defradb.rs 1092)
        self.outbox: deque[Packet] = deque(maxlen=OUTBOX_FRAMES_MAX)


class Reader(Protocol):
    """Who hands events to a node's core; `link` is the one a frame came by."""

    def tell(self, node: SimNode, event: Event, link: Link | None = None) -> None: ...


class Network:
    def __init__(self, schedule: Schedule, rng: Random, reader: Reader, story: Story) -> None:
        self._schedule, self._rng, self._reader, self._story = schedule, rng, reader, story
        self.trace: Trace | None = None
        self.faults: FrameFaults | None = None
        self.machines: dict[str, None] = {}
        self.silent: set[str] = set()  # machines nothing comes back from
        self.cuts: set[tuple[str, str]] = set()  # (from, to): packets of links that way vanish
        self.listeners: dict[str, SimNode] = {}  # by endpoint
        self.sent: Counter[str] = Counter()  # frames, by kind
        self.sent_bytes: Counter[str] = Counter()

    # ---- what a node's effects ask for

    def admit(self, node: SimNode, effect: AdmitPeer) -> None:
        address = (effect.endpoint, effect.curve_public)
        before = node.admitted.get(effect.node_id)
        if before == address:
            return
        node.admitted[effect.node_id] = address
        if before is not None:
            self._cut_off(node, effect.node_id)
            if effect.node_id in node.pinned:
                self._pin(node, effect.node_id)

    def expel(self, node: SimNode, node_id: NodeId) -> None:
        node.admitted.pop(node_id, None)
        self._cut_off(node, node_id)

    def pin(self, node: SimNode, node_ids: frozenset[NodeId]) -> None:
        before, node.pinned = node.pinned, node_ids
        for node_id in sorted(before - node_ids):
            link = node.links.get(node_id)
            if link is not None:
                link.is_pinned = False
                if link.is_up:
                    self._schedule.after(IDLE_MS, self._close_if_idle, (link, link.serial))
        for node_id in sorted(node_ids - before):
            self._pin(node, node_id)

    def send(self, node: SimNode, tos: Iterable[NodeId], message: MembershipMessage) -> None:
        """Raises WireError when the message does not fit a frame: a bug of the core."""
        packet = Packet(node.node_id, message.KIND, encode(message, TAG))
        self.post(node, tos, packet)

    def post(self, node: SimNode, tos: Iterable[NodeId], packet: Packet) -> None:
        ready = []
        now_ms = self._schedule.now_ms
        for to in tos:
            link = node.links.get(to)
            if link is not None and link.is_up:
                link.used_ms = now_ms
                ready.append(link)
            else:
                self._keep_for_link(node, to, link, packet)
        if ready:
            self._carry(node, ready, packet)

    def knock(self, node: SimNode, effect: Knock) -> None:
        self._schedule.after(
            self._rng.randint(*HOP_MS), self._knocked, (node, node.life, effect.node_id, effect.endpoint)
        )

    # ---- what befalls nodes

    def started(self, node: SimNode) -> None:
        self.machines[node.machine] = None
        self.listeners[node.endpoint] = node
        self.silent.discard(node.machine)
        for link in list(node.inbound):  # half-open since the former life: the next frame is answered by RST
            wait_ms = self._rng.randint(1, NEXT_FRAME_MS)
            self._schedule.after(wait_ms, self._break, (link, link.serial))

    def ended(self, node: SimNode) -> None:
        """The process is gone. Its machine's kernel says so to everybody it can reach."""
        self.listeners.pop(node.endpoint, None)
        for link in list(node.links.values()):
            self._close(link)
        node.admitted, node.pinned = {}, frozenset()
        node.handshakes.clear()
        for link in list(node.inbound):
            link.is_lossy = True
            if self._is_reachable(node.machine, link.owner.machine):
                self._schedule.after(self._rng.randint(*RESET_MS), self._break, (link, link.serial))
            else:
                self._judge(link)

    def changed(self, nodes: Iterable[SimNode]) -> None:
        """Their pulse, silence or cables are not what they were."""
        for node in nodes:
            for link in (*node.links.values(), *node.inbound):
                if link.is_up:
                    self._judge(link)

    def resumed(self, node: SimNode) -> None:
        """It reads again: handshakes that waited go on."""
        waiting, node.handshakes = node.handshakes, []
        for planned in waiting:
            self._schedule.after(self._rng.randint(*HOP_MS), self._shake_hands, planned)

    def _is_reachable(self, source: str, target: str) -> bool:
        if source in self.silent or target in self.silent:
            return False
        return (source, target) not in self.cuts

    # ---- frames

    def _keep_for_link(self, node: SimNode, to: NodeId, link: Link | None, packet: Packet) -> None:
        if link is None:
            if to not in node.admitted:
                node.dropped["not_admitted"] += 1
                return
            link = self._dialled(node, to)
        link.outbox.append(packet)

    def _carry(self, node: SimNode, links: list[Link], packet: Packet) -> None:
        size = len(packet.frame) * len(links)
        self.sent[packet.kind] += len(links)
        self.sent_bytes[packet.kind] += size
        node.sent_bytes += size
        if self.faults is not None:
            self._carry_with_faults(self.faults, links, packet)
            return
        slow = [link for link in links if link.delay_ms]
        for link in slow:
            self._carry_one(link, packet, link.delay_ms + self._rng.randint(*HOP_MS))
        if slow:
            links = [link for link in links if not link.delay_ms]
        when_ms = self._schedule.now_ms + self._rng.randint(*HOP_MS)
        if when_ms < node.last_arrival_ms:
            when_ms = node.last_arrival_ms  # TCP keeps the order
        node.last_arrival_ms = when_ms
        self._schedule.at(when_ms, self._arrive, (links, packet))

    def _carry_with_faults(self, faults: FrameFaults, links: list[Link], packet: Packet) -> None:
        for link in links:
            for delay_ms, damaged in faults.fates(packet.frame, self._rng):
                copy = packet if damaged is None else Packet(packet.sender, packet.kind, damaged)
                self._carry_one(link, copy, delay_ms + link.delay_ms, keeps_order=faults.keeps_order)

    def _carry_one(self, link: Link, packet: Packet, delay_ms: int, *, keeps_order: bool = True) -> None:
        when_ms = self._schedule.now_ms + delay_ms
        if keeps_order:
            when_ms = link.last_arrival_ms = max(when_ms, link.last_arrival_ms)
        self._schedule.at(when_ms, self._arrive, ([link], packet))

    def _arrive(self, flight: tuple[list[Link], Packet]) -> None:
        links, packet = flight
        try:
            event = packet.opened()
        except WireError as error:
            for link in links:
                link.peer.dropped[error.reason] += 1
            return
        tell, trace = self._reader.tell, self.trace
        for link in links:
            if link.is_up and not link.is_lossy and not link.is_wedged:
                peer = link.peer
                if trace is not None:
                    trace.frame(self._schedule.now_ms, link.owner.machine, peer.machine, packet.frame)
                if peer.is_blocked:
                    if link.waiting >= WAITING_FRAMES_MAX:
                        peer.dropped["queue_full"] += 1
                        continue
                    link.waiting += 1
                tell(peer, event, link)

    # ---- links

    def _pin(self, node: SimNode, node_id: NodeId) -> None:
        assert node_id in node.admitted, "pinned before it was admitted"
        link = node.links.get(node_id)
        if link is None:
            link = self._dialled(node, node_id)
        link.is_pinned = True

    def _dialled(self, node: SimNode, to: NodeId) -> Link:
        link = node.links[to] = Link(node, to, node.admitted[to][0])
        self._dial(link)
        return link

    def _dial(self, link: Link) -> None:
        link.serial += 1
        self._schedule.after(self._rng.randint(*HOP_MS), self._knock_by_dialling, (link, link.serial))

    def _knock_by_dialling(self, planned: tuple[Link, int]) -> None:
        link, serial = planned
        if link.serial != serial:
            return
        finding, peer = self._look(link.owner, link.endpoint)
        if peer is not None:
            self._shake_hands(planned)
        elif finding is Finding.REFUSED:
            self._schedule.after(self._rng.randint(*HOP_MS), self._fail, (link, serial, True))
        else:
            wait_ms = KNOCK_TIMEOUT_MS if link.failures else CONNECT_TIMEOUT_MS
            self._schedule.after(wait_ms, self._fail, (link, serial, False))

    def _look(self, node: SimNode, endpoint: str) -> tuple[Finding, SimNode | None]:
        machine = endpoint.removeprefix("tcp://").rpartition(":")[0]
        if machine not in self.machines or not self._is_reachable(node.machine, machine):
            return Finding.SILENT, None
        peer = self.listeners.get(endpoint)
        return (Finding.REFUSED, None) if peer is None else (Finding.REACHABLE, peer)

    def _shake_hands(self, planned: tuple[Link, int]) -> None:
        """A blocked process shakes no hands: its I/O thread stands still, or its ZAP handler does."""
        link, serial = planned
        if link.serial != serial:
            return
        owner = link.owner
        _, peer = self._look(owner, link.endpoint)
        if peer is not None and peer.is_blocked:
            peer.handshakes.append(planned)
            self._schedule.after(HANDSHAKE_TIMEOUT_MS, self._fail, (link, serial, False))
            return
        if peer is None or not self._admit_each_other(link, peer):
            self._schedule.after(self._rng.randint(*HOP_MS), self._fail, (link, serial, False))
            return
        link.serial += 1
        link.failures = 0
        link.is_up, link.is_lossy, link.is_deaf = True, False, False
        link.peer, link.peer_life = peer, peer.life
        link.used_ms, link.waiting = self._schedule.now_ms, 0
        peer.inbound[link] = None
        self._judge(link)
        if not link.is_pinned:
            self._schedule.after(IDLE_MS, self._close_if_idle, (link, link.serial))
        self._reader.tell(owner, LinkUp(link.to))
        while link.outbox and link.is_up:
            self._carry(owner, [link], link.outbox.popleft())

    def _admit_each_other(self, link: Link, peer: SimNode) -> bool:
        ours, theirs = link.owner.admitted.get(link.to), peer.admitted.get(link.owner.node_id)
        if ours is None or theirs is None:
            return False
        return ours[1] == peer.curve_public and theirs[1] == link.owner.curve_public

    def _fail(self, planned: tuple[Link, int, bool]) -> None:
        link, serial, refused = planned
        if link.serial != serial:
            return
        link.serial += 1
        link.failures += 1
        link.outbox.clear()
        if link.is_pinned:
            longest_ms = min(REDIAL_MAX_MS, REDIAL_MIN_MS << min(link.failures, 10))
            pause_ms = int(self._rng.uniform(0.5, 1.0) * longest_ms)
            self._schedule.after(pause_ms, self._redial, (link, link.serial))
        else:
            del link.owner.links[link.to]
        self._reader.tell(link.owner, LinkLost(link.to, refused=refused))

    def _redial(self, planned: tuple[Link, int]) -> None:
        link, serial = planned
        if link.serial != serial:
            return
        if link.is_pinned:
            self._dial(link)
        else:
            self._close(link)

    def _break(self, planned: tuple[Link, int]) -> None:
        """The connection ended under its owner's hands."""
        link, serial = planned
        if link.serial != serial or not link.is_up:
            return
        link.is_up = False
        link.serial += 1
        link.peer.inbound.pop(link, None)
        if link.is_pinned:
            self._dial(link)
        else:
            del link.owner.links[link.to]
        self._reader.tell(link.owner, LinkLost(link.to, refused=False))

    def _close(self, link: Link) -> None:
        """By its owner, without a word."""
        if link.is_up:
            link.is_up = False
            link.peer.inbound.pop(link, None)
        link.serial += 1
        link.outbox.clear()
        link.owner.links.pop(link.to, None)

    def _close_if_idle(self, planned: tuple[Link, int]) -> None:
        link, serial = planned
        if link.serial != serial or link.is_pinned:
            return
        idle_ms = self._schedule.now_ms - link.used_ms
        if idle_ms >= IDLE_MS:
            self._close(link)
        else:
            self._schedule.after(IDLE_MS - idle_ms, self._close_if_idle, planned)

    def _cut_off(self, node: SimNode, node_id: NodeId) -> None:
        """Both directions between a node and one it no longer admits as it did."""
        link = node.links.get(node_id)
        if link is not None:
            self._close(link)
        for inbound in [other for other in node.inbound if other.owner.node_id == node_id]:
            inbound.is_lossy = True
            self._schedule.after(self._rng.randint(*HOP_MS), self._break, (inbound, inbound.serial))

    def _judge(self, link: Link) -> None:
        """Whether it still carries packets and heartbeats; one that does not breaks after a while."""
        owner, peer = link.owner, link.peer
        is_gone = link.peer_life != peer.life or peer.core is None
        link.is_lossy = is_gone or not self._is_reachable(owner.machine, peer.machine)
        is_stopped = owner.pulse is Pulse.STOPPED or peer.pulse is Pulse.STOPPED
        is_deaf = link.is_lossy or is_stopped
        if is_deaf and not link.is_deaf:
            link.silence += 1
            wait_ms = self._rng.randint(*HEARTBEAT_LOST_MS)
            self._schedule.after(wait_ms, self._break_if_deaf, (link, link.serial, link.silence))
        link.is_deaf = is_deaf

    def _break_if_deaf(self, planned: tuple[Link, int, int]) -> None:
        link, serial, silence = planned
        if link.is_deaf and link.silence == silence:
            self._break((link, serial))

    def _knocked(self, asked: tuple[SimNode, int, NodeId, str]) -> None:
        node, life, node_id, endpoint = asked
        finding, _ = self._look(node, endpoint)
        wait_ms = KNOCK_TIMEOUT_MS if finding is Finding.SILENT else self._rng.randint(*HOP_MS)
        self._schedule.after(wait_ms, self._tell_knocked, (node, life, Knocked(node_id, finding)))

    def _tell_knocked(self, told: tuple[SimNode, int, Knocked]) -> None:
        node, life, event = told
        if node.life == life:
            self._reader.tell(node, event)

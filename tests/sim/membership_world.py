"""A fabric of membership cores under virtual time: real cores and codec, fake clock, links and disks.

One seed reproduces everything. Links behave as the real transport's: a frame passes only while both
ends admit each other; a killed process refuses redials, a silent machine does not answer them.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from random import Random

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import (
    Effect,
    Event,
    LinkLost,
    LinkUp,
    Notify,
    PeerAdmitted,
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
from fabric.core.membership.model import Member, MemberState
from fabric.core.membership.record import sign_record
from proto.envelope import decode, encode, fabric_tag, parse
from proto.ids import FabricId, NodeId
from proto.membership import KINDS, NodeState
from tests.fixtures.membership_nodes import FakeNode, fake_sign, fake_verify

TAG = fabric_tag(FabricId("sim"))
REDIAL_MS = 500
DELAY_MS = (1, 5)


class SimNode:
    """One node: its disk outlives its process."""

    def __init__(self, name: str) -> None:
        self.identity = FakeNode(name)
        self.incarnation = 0
        self.disk: tuple[NodeState, ...] = ()
        self.core: Membership | None = None
        self.life = 0  # timers of a former life must not fire
        self.stalled_until_ms = 0  # the process stands still; everything waits for it
        self.is_frozen = False  # the machine is silent: no refusal either
        self.port = 7000
        self.peers: dict[NodeId, str] = {}  # endpoint this node dials
        self.up: set[NodeId] = set()
        self.history: list[tuple[int, str, MemberState]] = []
        self.refused: list[str] = []

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    @property
    def endpoint(self) -> str:
        return f"tcp://{self.name}:{self.port}"


class World:
    def __init__(self, seed: int, *, config: MembershipConfig | None = None, loss: float = 0.0) -> None:
        self.rng = Random(seed)
        self.config = config or MembershipConfig()
        self.loss = loss
        self.now_ms = 1_000
        self.nodes: dict[str, SimNode] = {}
        self.cut: set[frozenset[str]] = set()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # What tests do to it.

    def add(self, name: str, *, known: Iterable[str] = (), port: int = 7000) -> SimNode:
        """A process starts; `known` gives it those nodes' states, as a join reply would."""
        node = self.nodes.setdefault(name, SimNode(name))
        assert node.core is None
        node.port = port
        node.incarnation += 1
        node.life += 1
        node.is_frozen = False
        record = node.identity.record(incarnation=node.incarnation, port=port)
        node.core = Membership(
            record, self.config, Random(self.rng.random()), sign=fake_sign(name), verify=fake_verify
        )
        states = {s.body: s for s in node.disk}
        for other in known:
            core = self.nodes[other].core
            assert core is not None
            for state in (core.own_state, *core.states()):
                states[state.body] = state
        self.tell(name, Started(tuple(states.values())))
        return node

    def join(self, name: str, *, through: str) -> None:
        """The door's answer, then the start: what `fabric.runtime.join` does."""
        node = self.nodes.setdefault(name, SimNode(name))
        first = sign_record(
            node.identity.record(incarnation=node.incarnation + 1, version=0), fake_sign(name)
        )
        self.tell(through, PeerAdmitted(first.state))
        self.add(name, known=[through])

    def kill(self, name: str) -> None:
        node = self.nodes[name]
        node.core, node.peers, node.up = None, {}, set()
        node.life += 1
        for other in self._running():
            if node.node_id in other.up:
                self._lose(other, node)

    def silence(self, name: str) -> None:
        """The machine dies or hangs: nothing answers, not even with a refusal."""
        self.nodes[name].is_frozen = True
        self.kill(name)

    def split(self, one_side: Iterable[str]) -> None:
        inside = set(one_side)
        for a, b in itertools.combinations(self.nodes, 2):
            if (a in inside) != (b in inside):
                self.cut.add(frozenset((a, b)))
                self._break(a, b)
                self._break(b, a)

    def heal(self) -> None:
        self.cut.clear()

    def stall(self, name: str, for_ms: int) -> None:
        """The process gets no processor time: timers and frames wait, in order, links stay up."""
        self.nodes[name].stalled_until_ms = self.now_ms + for_ms

    def tell(self, name: str, event: Event) -> None:
        node = self.nodes[name]
        if self.now_ms < node.stalled_until_ms:
            life = node.life
            self._at(
                node.stalled_until_ms - self.now_ms,
                lambda: self.tell(name, event) if node.life == life else None,
            )
            return
        if node.core is not None:
            for effect in node.core.handle(event, self.now_ms):
                self._perform(node, effect)

    def run(self, for_ms: int) -> None:
        end_ms = self.now_ms + for_ms
        while self._queue and self._queue[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = end_ms

    def run_until(self, holds: Callable[[], bool], *, within_ms: int) -> int:
        """Milliseconds it took, in steps of 10. Fails when it never held."""
        start_ms = self.now_ms
        while not holds():
            assert self.now_ms - start_ms < within_ms, f"not within {within_ms} ms; views: {self.views()}"
            self.run(10)
        return self.now_ms - start_ms

    # What tests ask.

    def sees(self, viewer: str, subject: str) -> MemberState | None:
        member = self.member(viewer, subject)
        return None if member is None else member.state

    def member(self, viewer: str, subject: str) -> Member | None:
        core = self.nodes[viewer].core
        assert core is not None
        return core.member(self.nodes[subject].node_id, self.now_ms)

    def everyone_sees(self, subject: str, state: MemberState, *, but: Iterable[str] = ()) -> bool:
        viewers = [n.name for n in self._running() if n.name != subject and n.name not in but]
        return all(self.sees(viewer, subject) is state for viewer in viewers)

    def all_alive(self) -> bool:
        running = [n.name for n in self._running()]
        return all(self.sees(v, s) is MemberState.ALIVE for v in running for s in running)

    def roots_agree(self) -> bool:
        cores = [n.core for n in self._running() if n.core is not None]
        return len({core._table.root for core in cores}) == 1

    def views(self) -> dict[str, dict[str, str]]:
        return {n.name: {s: str(self.sees(n.name, s)) for s in self.nodes} for n in self._running()}

    # The machinery.

    def _running(self) -> list[SimNode]:
        return [n for n in self.nodes.values() if n.core is not None]

    def _at(self, after_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (self.now_ms + after_ms, next(self._order), action))

    def _by_id(self, node_id: NodeId) -> SimNode | None:
        return next((n for n in self.nodes.values() if n.node_id == node_id), None)

    def _perform(self, node: SimNode, effect: Effect) -> None:
        match effect:
            case Send(to, message):
                if to in node.up:
                    self._carry(node, to, encode(message, TAG))
            case StartTimer(timer, after_ms):
                self._at(after_ms, self._timer(node, timer, node.life))
            case SetPeers(peers):
                self._set_peers(node, {p.node_id: p.endpoint for p in peers})
            case Persist(states):
                node.disk = states
            case RaiseIncarnation(incarnation):
                node.incarnation = incarnation
            case Notify(member, _):
                node.history.append((self.now_ms, member.record.name, member.state))
            case Refused(_, reason):
                node.refused.append(reason)

    def _timer(self, node: SimNode, timer: Timer, life: int) -> Callable[[], None]:
        return lambda: self.tell(node.name, TimerFired(timer)) if node.life == life else None

    def _set_peers(self, node: SimNode, peers: dict[NodeId, str]) -> None:
        for gone in [n for n in node.peers if peers.get(n) != node.peers[n]]:
            node.up.discard(gone)
            del node.peers[gone]
        for node_id in [n for n in peers if n not in node.peers]:
            node.peers[node_id] = peers[node_id]
            self._at(self.rng.randint(*DELAY_MS), self._dial(node, node_id, node.life))

    def _dial(self, node: SimNode, to: NodeId, life: int) -> Callable[[], None]:
        def dial() -> None:
            if node.life != life or to not in node.peers or to in node.up:
                return
            peer = self._by_id(to)
            reachable = (
                peer is not None and not peer.is_frozen and frozenset((node.name, peer.name)) not in self.cut
            )
            listening = (
                reachable and peer is not None and peer.core is not None and node.peers[to] == peer.endpoint
            )
            if listening and peer is not None and node.node_id in peer.peers:
                node.up.add(to)
                self.tell(node.name, LinkUp(to))
                return
            self.tell(node.name, LinkLost(to, refused=reachable and not listening))
            self._at(REDIAL_MS, self._dial(node, to, life))

        return dial

    def _lose(self, node: SimNode, peer: SimNode) -> None:
        node.up.discard(peer.node_id)
        self._at(self.rng.randint(*DELAY_MS), self._dial(node, peer.node_id, node.life))

    def _break(self, a: str, b: str) -> None:
        node, peer = self.nodes[a], self.nodes[b]
        if peer.node_id in node.up:
            self._lose(node, peer)

    def _carry(self, node: SimNode, to: NodeId, frame: bytes) -> None:
        if self.rng.random() < self.loss:
            return
        peer = self._by_id(to)
        assert peer is not None
        life = peer.life

        def arrive() -> None:
            admitted = node.node_id in peer.peers
            if peer.life == life and admitted and frozenset((node.name, peer.name)) not in self.cut:
                self.tell(peer.name, Received(node.node_id, parse(decode(frame, TAG), KINDS)))

        self._at(self.rng.randint(*DELAY_MS), arrive)

"""One simulated node: a process that comes and goes, and a machine with a disk and a clock that stay."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from fabric.core.membership.events import Event
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import MemberState, NodeRecord
from proto.ids import Epoch, NodeId
from proto.membership import NodeState, Removal
from tests.fixtures.membership_nodes import FakeNode, FakeTrust, fake_certificate, fake_curve_public
from tests.sim.membership_time import NEVER_MS

if TYPE_CHECKING:
    from tests.sim.membership_network import Link

PORT = 7000


class Pulse(Enum):
    """What keeps a process from reading its events."""

    RUNNING = "running"
    STOPPED = "stopped"  # SIGSTOP: the kernel accepts its connections, ZeroMQ's heartbeats go unanswered
    HELD = "held"  # the GIL is held: ZeroMQ's I/O thread answers heartbeats, nobody reads frames


@dataclass(frozen=True, slots=True)
class Disk:
    """What survives the process. Immutable, so that an old backup is just an older value."""

    epoch: int = 0
    states: tuple[NodeState, ...] = ()
    removals: tuple[Removal, ...] = ()


class SimNode:
    """`machine` is its place on the network; `identity` may be shared by a clone on another machine."""

    def __init__(self, machine: str, *, identity: str | None = None, clock_ms: int = 0) -> None:
        self.machine = machine
        self.identity = FakeNode(identity or machine)
        self.node_id: NodeId = self.identity.node_id
        self.trust = FakeTrust(self.identity.name)
        self.generation = 0  # of its keys
        self.forged_certificate = b""  # shown instead of its own by an intruder
        self.clock_ms = clock_ms  # its monotonic clock is this far ahead of the world's
        self.port = PORT
        self.disk = Disk()
        # Of the process:
        self.core: Membership | None = None
        self.life = 0
        self.quarantined = ""  # why; it says no word more
        self.pulse = Pulse.RUNNING
        self.stops = 0  # tells one pause from the next
        self.absent_ms = self.back_ms = 0  # of the last pause
        self.cost_ms = 0  # of every event: a slow consumer
        self.learn_ms = 0  # and of each member made known: its signatures are checked
        self.is_blocked = False  # events wait in `inbox`
        self.inbox: deque[tuple[Link | None, Event]] = deque()
        self.is_woken = False  # a `Woke` waits, too
        self.armed_ms = NEVER_MS
        self.spins, self.last_woken_ms = 0, 0
        self.view: dict[NodeId, MemberState] = {}  # as its `Notify` effects tell it
        self.buried: set[NodeId] = set()  # whom it holds down, also while it wonders anew
        # Of the network; see membership_network.py:
        self.admitted: dict[NodeId, tuple[str, bytes]] = {}
        self.pinned: frozenset[NodeId] = frozenset()
        self.links: dict[NodeId, Link] = {}
        self.inbound: dict[Link, None] = {}
        self.handshakes: list[tuple[Link, int]] = []  # that wait for a blocked process
        self.last_arrival_ms = 0
        # What checks and tests want to know:
        self.blameless_from_ms = NEVER_MS  # since when nobody has a reason to call it down
        self.is_half_deaf = False  # by a test's word: it is right to call it down, and wrong what it calls so
        self.refused: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()  # frames that were none
        self.sent_bytes = 0

    def __repr__(self) -> str:
        return f"SimNode({self.machine})"

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def endpoint(self) -> str:
        return f"tcp://{self.machine}:{self.port}"

    @property
    def curve_public(self) -> bytes:
        return fake_curve_public(self.name, self.generation)

    @property
    def running(self) -> Membership:
        assert self.core is not None, f"{self.machine} does not run"
        return self.core

    def first_record(self, now_ms: int) -> NodeRecord:
        """What a process says of itself when it starts, under the epoch on disk."""
        boot = f"{self.machine}/{self.life}".encode()
        return replace(
            self.identity.record(epoch=self.disk.epoch, port=self.port),
            endpoint=self.endpoint,
            curve_public=self.curve_public,
            certificate=self.forged_certificate or fake_certificate(self.name, self.generation),
            epoch=Epoch(self.disk.epoch),
            boot_id=hashlib.blake2b(boot, digest_size=8).digest(),
        )

"""One real membership core among honest peers that answer, and one member that says what the fuzzer likes.

The bytes are a msgpack list of `[after_ms, kind, body]`, each a message of the bad member. It has its own
keys: where it leaves 64 zero bytes as a signature of its own word, the word is signed as it would. Others'
words it has only as they were said. What must hold after every event:

- the core does not raise, what it sends can be encoded, and a message costs at most so many bytes of answers;
- nobody's record is in its table but as its owner said it; nobody unknown gets in; an honest member that
  answers is never down, stalled or gone; the core's own record stays its own and its numbers stay usable;
- nothing grows with the number of messages.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import (
    AdmitPeer,
    Broadcast,
    Effect,
    Event,
    Knock,
    Knocked,
    LinkUp,
    PinLinks,
    Quarantine,
    Received,
    Send,
    Started,
    Woke,
)
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import Load, MemberState
from fabric.core.membership.record import read_state, sign_record, write_load
from proto import membership
from proto.codec import pack, unpack
from proto.envelope import encode, fabric_tag
from proto.errors import WireError
from proto.ids import FabricId, NodeId
from proto.membership import (
    Ack,
    Beat,
    Finding,
    Hello,
    LinkReq,
    NodeState,
    Ping,
    PingReq,
    Presence,
    Vote,
    vote_body,
)
from proto.records import from_wire, to_wire
from tests.fixtures.membership_nodes import FakeNode, FakeTrust, fake_removal, fake_signature

TAG = fabric_tag(FabricId("sim"))
ME, BAD, GONE = "me", "bad", "gone"
HONEST = ("h1", "h2", "h3", "h4", "h5")
NAME_OF = {FakeNode(name).node_id: name for name in (ME, BAD, GONE, *HONEST)}
ID_OF = {name: node_id for node_id, name in NAME_OF.items()}
ALLOWED = {MemberState.ALIVE, MemberState.SUSPECT}
UNSIGNED = bytes(64)
AFTER_MS_MAX = 3_000
EVENTS_MAX = 4_000  # of one run: the clock is ours, so this only guards this file
SETTLE_MS = 1_500
MESSAGES_MAX = 40
MEMBERS_MAX = 64
SIZE_MAX = 1_000  # elements of containers; about 340 in peace
EFFECTS_MAX = 200  # of one event
ANSWER_BYTES_MAX = 128 * 1024  # of one message, beside what is told on,
LINKS_MAX = 12  # once a link
MY_EPOCH = 4
COPIES_MAX = 4  # of one state, to one peer, by one event


@dataclass(slots=True)
class Honest:
    """A member that answers what it is asked and beats."""

    node: FakeNode
    state: NodeState
    seq: int = 0


class World:
    def __init__(self) -> None:
        self.now_ms = 1_000
        self.events = 0
        self._queue: list[tuple[int, int, Event]] = []
        self.honest = {
            ID_OF[name]: Honest(FakeNode(name), said(FakeNode(name), epoch=3, version=5)) for name in HONEST
        }
        config = MembershipConfig(members_max=MEMBERS_MAX)
        self.core = Membership(FakeNode(ME).record(epoch=MY_EPOCH), config, Random(7), FakeTrust(ME))
        known = [said(FakeNode(name), epoch=3, version=5) for name in (*HONEST, BAD)]
        self._words = {state.signature: state for state in known}  # of honest members, as they said them
        self._checked: set[NodeState] = set()
        self._checked_own: NodeState | None = None
        self.pinned: frozenset[NodeId] = frozenset()
        self._tell(Started(known=tuple(known)))
        for node_id in (*self.honest, ID_OF[BAD]):
            self._tell(LinkUp(node_id))
        for node_id, honest in self.honest.items():
            hello = Hello(state=honest.state, root=self.core.root, members=len(HONEST) + 2)
            self._tell(Received(node_id, hello))
            self._tell(Received(node_id, LinkReq(priority=True, degree=2)))
        self._tell(Received(ID_OF[BAD], LinkReq(priority=True, degree=2)))
        self.run_until(self.now_ms + 50)

    def say(self, message: Any, cost: int) -> None:
        """The bad member speaks."""
        self._tell(
            Received(ID_OF[BAD], signed_by_bad(message)), allowed_bytes=ANSWER_BYTES_MAX + LINKS_MAX * cost
        )

    def run_until(self, at_ms: int) -> None:
        """Honest members beat each second; timers and answers come when they are due."""
        while True:
            due = [self._beats_ms()]
            if self.core.due_ms is not None:
                due.append(max(self.core.due_ms, self.now_ms))
            if self._queue:
                due.append(self._queue[0][0])
            next_ms = min(due)
            if next_ms > at_ms:
                break
            self.now_ms = max(self.now_ms, next_ms)
            if self._queue and self._queue[0][0] <= self.now_ms:
                self._tell(heapq.heappop(self._queue)[2])
            elif self.core.due_ms is not None and self.core.due_ms <= self.now_ms:
                self._tell(Woke())
            else:
                self._beat()
        self.now_ms = at_ms

    # Inner.

    def _beats_ms(self) -> int:
        return (
            (self.now_ms // 1_000 + 1) * 1_000 if self.now_ms % 1_000 or self._has_beaten() else self.now_ms
        )

    def _has_beaten(self) -> bool:
        return all(honest.seq * 1_000 >= self.now_ms for honest in self.honest.values())

    def _beat(self) -> None:
        for node_id, honest in self.honest.items():
            honest.seq = self.now_ms // 1_000
            beat = Beat(
                seq=honest.seq,
                epoch=3,
                incarnation=0,
                version=5,
                lag_ms=0,
                root=self.core.root,
                members=len(HONEST) + 2,
                degree=6,
            )
            self._tell(Received(node_id, beat))

    def _tell(self, event: Event, allowed_bytes: int = ANSWER_BYTES_MAX) -> None:
        self.events += 1
        assert self.events < EVENTS_MAX
        effects = self.core.handle(event, self.now_ms)
        assert len(effects) <= EFFECTS_MAX, len(effects)
        sent_bytes = 0
        copies: Counter[tuple[NodeId, bytes]] = Counter()
        for effect in effects:
            sent_bytes += self._perform(effect)
            if isinstance(effect, Send) and isinstance(effect.message, membership.State):
                copies.update((effect.to, state.signature) for state in effect.message.states)
        assert max(copies.values(), default=0) <= COPIES_MAX, "the same record many times to one peer"
        assert sent_bytes <= allowed_bytes, f"{sent_bytes} bytes sent for {allowed_bytes} allowed"
        self._check()

    def _perform(self, effect: Effect) -> int:
        """What the runtime would do; the bytes it sends."""
        match effect:
            case Send(to=to, message=message):
                self._answer(to, message)
                return len(encode(message, TAG))
            case Broadcast(to=to, message=message):
                for peer in to:
                    self._answer(peer, message)
                return len(encode(message, TAG)) * len(to)
            case Knock(node_id=node_id):
                self._later(Knocked(node_id, Finding.REACHABLE))
            case PinLinks(node_ids=node_ids):
                self.pinned = node_ids
            case AdmitPeer(node_id=node_id):
                assert node_id in NAME_OF
            case Quarantine(reason=reason):
                raise AssertionError(f"one bad member had this node quarantined: {reason}")
        return 0

    def _answer(self, to: NodeId, message: Any) -> None:
        if to in self.honest:
            match message:
                case Ping(nonce=nonce):
                    self._later(Received(to, self._ack(nonce)))
                case PingReq(nonce=nonce, target=target) if target in self.honest:
                    self._later(Received(to, self._ack(nonce)))

    def _ack(self, nonce: int) -> Ack:
        return Ack(nonce=nonce, lag_ms=0, root=self.core.root, members=len(HONEST) + 2)

    def _later(self, event: Event) -> None:
        heapq.heappush(self._queue, (self.now_ms + 1, self.events * 1_000 + len(self._queue), event))

    def _check(self) -> None:
        core = self.core
        if core.own_state is not self._checked_own:
            self._checked_own = core.own_state
            self._check_own()
        for member in core.members(self.now_ms):
            node_id = member.record.node_id
            assert node_id in NAME_OF
            if node_id in self.honest:
                assert member.state in ALLOWED, f"{member.record.name} is {member.state}"
        for state in core.states():
            if state in self._checked:
                continue
            said_so = self._words.get(state.signature)
            assert state == said_so if said_so is not None else is_by_bad(state)
            self._checked.add(state)

    def _check_own(self) -> None:
        state, me = self.core.own_state, self.core.me
        assert read_state(state).record == me
        assert state.signature == fake_signature(ME, state.body)
        assert (me.node_id, me.name, me.endpoint) == (ID_OF[ME], ME, FakeNode(ME).record().endpoint)
        # Nobody can show a word of ours of a higher epoch, and a refutation costs one incarnation.
        assert me.epoch == MY_EPOCH, f"the epoch was driven to {me.epoch}"
        assert me.incarnation <= self.events, f"the incarnation was driven to {me.incarnation}"

    def check_size(self) -> None:
        assert self.pinned <= set(NAME_OF)
        size = size_of(self.core)
        assert size <= SIZE_MAX, f"the core holds {size} elements"


def live(data: bytes) -> None:
    """One life of the core."""
    try:
        steps = unpack(data)
    except WireError:
        return
    if not isinstance(steps, list):
        return
    world = World()
    for step in steps[:MESSAGES_MAX]:
        if not isinstance(step, list) or len(step) != 3:
            continue
        after_ms, kind, body = step
        if type(after_ms) is int and after_ms > 0:
            world.run_until(world.now_ms + min(after_ms, AFTER_MS_MAX))
        if not isinstance(kind, str) or kind not in membership.KINDS:
            continue
        try:
            message = from_wire(membership.KINDS[kind], body)
            cost = len(encode(message, TAG))
        except WireError:
            continue
        world.say(message, cost)
    world.check_size()
    world.run_until(world.now_ms + SETTLE_MS)
    world.check_size()


def said(node: FakeNode, *, presence: Presence = Presence.HERE, **numbers: int) -> NodeState:
    """What a node said about itself."""
    return sign_record(node.record(**numbers), FakeTrust(node.name).sign, presence=presence).state


def is_by_bad(state: NodeState) -> bool:
    record = read_state(state).record
    return record.node_id == ID_OF[BAD] and state.signature == fake_signature(BAD, state.body)


def signed_by_bad(message: Any) -> Any:
    """The message with the bad member's own signature wherever it left room for one."""
    sign = FakeTrust(BAD).sign
    changes: dict[str, Any] = {}
    for name in message.__dataclass_fields__:
        value = getattr(message, name)
        if isinstance(value, tuple):
            changes[name] = tuple(
                signed_by_bad(v) if hasattr(v, "__dataclass_fields__") else v for v in value
            )
        elif isinstance(value, NodeState):
            changes[name] = signed_by_bad(value)
    if getattr(message, "signature", None) == UNSIGNED:
        if isinstance(message, NodeState):
            changes["signature"] = sign(message.body)
        elif isinstance(message, Vote):
            body = vote_body(
                target=message.target,
                epoch=message.epoch,
                incarnation=message.incarnation,
                attempt=message.attempt,
                voter=message.voter,
                finding=message.finding,
            )
            changes["signature"] = sign(body)
    return replace(message, **changes) if changes else message


def size_of(core: Membership) -> int:
    """Elements of all containers the core holds, but for counters."""
    seen: set[int] = set()
    waiting: list[Any] = [core]
    count = 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen or isinstance(value, str | bytes | int | type):
            continue
        seen.add(id(value))
        if isinstance(value, dict):
            count += len(value)
            waiting += [*value.values()]
        elif isinstance(value, list | tuple | set | frozenset):
            count += len(value)
            waiting += [*value]
        elif type(value).__module__.startswith("fabric.core.membership"):
            slots = getattr(type(value), "__slots__", None)
            names = slots if slots is not None else list(vars(value))
            waiting += [getattr(value, name) for name in names if hasattr(value, name)]
    return count


def seeds() -> Iterator[bytes]:
    """Each kind alone, and some stories."""
    from tests.fuzz.seeds import examples

    bad, h1, me, gone = ID_OF[BAD], ID_OF["h1"], ID_OF[ME], ID_OF[GONE]
    stories: list[list[tuple[int, Any]]] = []
    votes = [
        Vote(
            target=target,
            epoch=epoch,
            incarnation=0,
            attempt=0,
            voter=bad,
            finding=finding,
            signature=UNSIGNED,
        )
        for target, epoch in ((h1, 3), (me, 4), (ID_OF["h2"], 3))
        for finding in Finding
    ]
    own = [
        replace(said(FakeNode(BAD), presence=presence, epoch=3, version=6), signature=UNSIGNED)
        for presence in Presence
    ]
    verdict = membership.Verdict(
        target=h1, epoch=3, incarnation=0, number=1, doom=membership.Doom.HOST_DOWN, votes=tuple(votes[:3])
    )
    versions = membership.Versions.of(
        membership.Version(node_id=node_id, epoch=3, incarnation=0, version=version)
        for node_id, version in ((h1, 5), (me, 1), (bad, 9), (gone, 2))
    )
    root = bytes(8)
    load = write_load(h1, 3, 2, Load(servers=3))
    mine = write_load(me, 4, 2, Load(servers=3))
    messages = [
        membership.Hello(state=own[0], root=root, members=3),
        membership.Welcome(
            state=own[0], root=root, members=3, you=(said(FakeNode(ME), epoch=4),), verdict=(verdict,)
        ),
        LinkReq(priority=False, degree=3),
        membership.LinkOk(degree=3),
        membership.LinkNo(candidates=(h1, gone)),
        *(membership.LinkDrop(reason=reason) for reason in membership.DropReason),
        Beat(seq=1, epoch=3, incarnation=0, version=5, lag_ms=0, root=root, members=3, degree=3, mark=65),
        Ping(nonce=1),
        Ack(nonce=1, lag_ms=0, root=root, members=3),
        membership.Nack(nonce=1, finding=Finding.SILENT),
        PingReq(nonce=5, target=h1),
        membership.State(states=(own[0],), eager=True),
        membership.State(states=(said(FakeNode("h1"), epoch=3, version=5),), ages_ms=(7,), eager=True),
        membership.State(loads=(load, mine), eager=True),
        membership.State(loads=(load,), eager=True, hops=2),
        membership.State(removals=(fake_removal(gone),)),
        membership.Have(versions=versions),
        membership.Want(versions=versions, graft=True),
        membership.Prune(),
        *(membership.Suspect(votes=(vote,)) for vote in votes),
        *(membership.Ballot(votes=(vote,)) for vote in votes),
        membership.Down(verdicts=(verdict,)),
        *(membership.Leave(state=state) for state in own),
        membership.Digest(mode=membership.DigestMode.ROOTS, roots=bytes(2_048)),
        membership.Digest(mode=membership.DigestMode.VERSIONS, buckets=bytes(range(256)), versions=versions),
        membership.Digest(mode=membership.DigestMode.SNAPSHOT, versions=versions),
    ]
    stories += [[(0, message)] for message in messages]
    stories += [[(100, a), (100, b)] for a, b in pairwise(messages)]
    stories.append([(50, message) for message in messages])
    stories.append(
        [(700, membership.Suspect(votes=tuple(votes))), (700, membership.Down(verdicts=(verdict,)))]
    )
    stories += [[(0, message)] for kind in membership.KINDS.values() for message in examples(kind, 1)]
    for story in stories:
        yield pack([[after_ms, message.KIND, to_wire(message)] for after_ms, message in story])

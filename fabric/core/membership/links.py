"""The active view: few symmetric links that connect the whole fabric.

Two ring neighbours (the next living ids either way) guarantee connectivity; random links up to eight keep
the diameter small and survive half of all nodes dying at once. Because every node holds the full table,
HyParView's shuffles and random walks are not needed: the table is the passive view. A link is agreed by
LINK_REQ and LINK_OK and then dialled by both sides. Sources: HyParView (2007); design/gossip.md 4.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from fabric.core.membership.context import Context
from fabric.core.membership.events import PinLinks
from fabric.core.membership.model import GONE_STATES, LinkView, MemberState
from fabric.core.membership.table import Entry
from proto.ids import NodeId
from proto.membership import DropReason, Hello, LinkDrop, LinkNo, LinkOk, LinkReq

ASK_TIMEOUT_MS = 1_500  # an unanswered LINK_REQ is given up; a dial with its handshake takes far less
MAINTAIN_MS = 1_000  # views that want for something are looked over this often
IDLE_MAINTAIN_MS = 5_000  # and all others this often even when nothing happened
FIRST_MS = 400  # after a start only
FIRST_LINKS = 2  # so many links are asked for
FILL_MS = 1_000  # between two rounds of asking random members, once there are a few links
QUIET_MS = 5_000  # views are trimmed when nobody has joined for so long
SETTLE_MS = 50  # changes that come together are answered together
CANDIDATES = 3  # HyParView: the refused are told where to go
LOW_DEGREE = 3  # below it a request has priority


@dataclass(slots=True, eq=False)
class Link:
    node_id: NodeId
    since_ms: int
    changed_ms: int  # when `is_up` last changed
    heard_ms: int
    is_up: bool = False  # our half
    is_eager: bool = True
    is_ring: bool = False
    is_bad: bool = False
    lag_ms: int = 0
    degree: int = 0  # of the peer, as it says
    mismatch_since_ms: int | None = None  # roots unequal
    other_mark_since_ms: int | None = None  # another word shaped its side of the broadcast tree
    last_digest_ms: int = -1_000_000
    looked_ms: int = 0  # when silence was last looked into


class Links:
    """Invariant: no node is both in `linked` and in `_asked`; pinned links are the union of both."""

    def __init__(self, context: Context, hello: Callable[[], Hello]) -> None:
        self._context = context
        self.hello = hello
        self.linked: dict[NodeId, Link] = {}
        self._asked: dict[NodeId, int] = {}  # since when
        self._shunned: dict[NodeId, int] = {}  # until when
        self._bad: dict[NodeId, int] = {}  # how often a link to it was bad, since it was last good for long
        self._given_up: dict[NodeId, Link] = {}  # links that did not carry what they should: to be told
        self._filled_ms = -1_000_000
        self._failures = 0
        self._pinned: frozenset[NodeId] = frozenset()
        self.up: set[NodeId] = set()  # every node we can send to just now, pinned or not

    # What others ask.

    def get(self, node_id: NodeId) -> Link | None:
        return self.linked.get(node_id)

    def ids(self, *, but: NodeId | None = None) -> list[NodeId]:
        return [node_id for node_id in self.linked if node_id != but]

    def eager(self, *, but: NodeId | None = None) -> list[NodeId]:
        return [link.node_id for link in self.linked.values() if link.is_eager and link.node_id != but]

    def lazy(self) -> list[NodeId]:
        return [link.node_id for link in self.linked.values() if not link.is_eager]

    def views(self) -> tuple[LinkView, ...]:
        """Neighbours, then those that were given up lately as bad and are well in the eyes of others."""
        found = []
        for link in (*self.linked.values(), *self._given_up.values()):
            entry = self._context.table.get(link.node_id)
            if link.is_bad and (entry is None or entry.state is not MemberState.ALIVE):
                continue
            found.append(
                LinkView(
                    node_id=link.node_id,
                    name="" if entry is None else entry.signed.record.name,
                    is_up=link.is_up,
                    is_eager=link.is_eager,
                    is_ring=link.is_ring,
                    since_ms=link.since_ms,
                    changed_ms=link.changed_ms,
                    heard_ms=link.heard_ms,
                    rtt_us=None if entry is None else entry.rtt_us,
                    lag_ms=link.lag_ms,
                    is_bad=link.is_bad,
                )
            )
        return tuple(found)

    # What the transport tells.

    def on_up(self, node_id: NodeId) -> None:
        self.up.add(node_id)
        link = self.linked.get(node_id)
        if link is not None and not link.is_up:
            link.is_up, link.changed_ms = True, self._context.now_ms

    def on_lost(self, node_id: NodeId) -> None:
        self.up.discard(node_id)
        link = self.linked.get(node_id)
        if link is not None and link.is_up:
            link.is_up, link.changed_ms = False, self._context.now_ms

    # What peers say.

    def on_request(self, sender: NodeId, request: LinkReq) -> None:
        context = self._context
        if sender in self.linked:
            context.send(sender, LinkOk(degree=len(self.linked)))
            return
        is_here = self._is_usable(sender)
        is_needed = request.priority or sender in self._asked
        has_room = is_here and len(self.linked) < context.config.links_max
        if is_here and not has_room and is_needed:
            has_room = self._evict()
        if not has_room:
            context.send(sender, LinkNo(candidates=self._candidates(but=sender)))
            return
        self._add(sender)
        self.linked[sender].degree = request.degree
        context.send(sender, LinkOk(degree=len(self.linked)))
        self.pin()

    def on_ok(self, sender: NodeId, degree: int) -> bool:
        """Whether this made a new link."""
        if self._asked.pop(sender, None) is None:
            if sender not in self.linked:  # too late: we gave up
                self._context.send(sender, LinkDrop(reason=DropReason.OPTIMISE))
            return False
        self._failures = 0
        if len(self.linked) >= self._context.config.links_max and not self._evict():
            self._context.send(sender, LinkDrop(reason=DropReason.OPTIMISE))
            self.pin()
            return False
        self._add(sender)
        self.linked[sender].degree = degree
        self.pin()
        return True

    def on_no(self, sender: NodeId, answer: LinkNo) -> None:
        if self._asked.pop(sender, None) is None:
            return
        self._shun(sender, self._context.config.link_retry_max_ms)
        self._failures += 1
        is_enough = len(self.linked) + len(self._asked) >= self._context.config.links_target
        for candidate in () if is_enough else answer.candidates:
            entry = self._context.table.get(candidate)
            if entry is not None and self._may_ask(entry):
                self._ask(entry, is_priority=len(self.linked) < LOW_DEGREE)
                break
        self.pin()
        self.review(after_ms=self._retry_ms())

    def on_beat_of_stranger(self, sender: NodeId) -> None:
        """It counts us a neighbour and we do not: an answer got lost. Tell it, unless we are just asking."""
        if sender not in self._asked:
            self._context.send(sender, LinkDrop(reason=DropReason.OPTIMISE))

    def on_drop(self, sender: NodeId, reason: DropReason) -> None:
        if not self._take_out(sender, reason):
            return
        self._context.counters[f"links_dropped.{reason.value}"] += 1
        long = reason in (DropReason.EVICT, DropReason.ERROR)
        self._shun(sender, self._bad_ms(sender) if long else self._context.config.link_retry_max_ms)
        self.pin()
        self.review(after_ms=self._retry_ms() if long else SETTLE_MS)

    # What this node decides.

    def drop(self, node_id: NodeId, reason: DropReason) -> None:
        if not self._take_out(node_id, reason):
            return
        self._context.counters[f"links_dropped.{reason.value}"] += 1
        if reason is DropReason.ERROR:
            self._shun(node_id, self._bad_ms(node_id))
        self._context.send(node_id, LinkDrop(reason=reason))
        self.pin()
        self.review()

    def _take_out(self, node_id: NodeId, reason: DropReason) -> bool:
        """Whether it was linked or asked."""
        link = self.linked.pop(node_id, None)
        if link is None:
            return self._asked.pop(node_id, None) is not None
        if reason is DropReason.ERROR:
            now_ms = self._context.now_ms
            self._given_up[node_id] = replace(
                link, is_bad=True, is_up=False, is_eager=False, is_ring=False, changed_ms=now_ms
            )
        return True

    def forget(self, node_id: NodeId) -> None:
        """The member is gone: there is nobody to tell."""
        was_ours = self.linked.pop(node_id, None) is not None
        was_asked = self._asked.pop(node_id, None) is not None
        self._given_up.pop(node_id, None)
        if was_ours or was_asked:
            self.pin()
            self.review()

    def review(self, after_ms: int = SETTLE_MS) -> None:
        """Looks the view over soon."""
        self._context.timers.set_earlier("links", self._context.now_ms + after_ms)

    def maintain(self) -> None:
        """Drops who is gone, asks the ring neighbours, fills up with random members."""
        context = self._context
        now_ms = context.now_ms
        self._shunned = {n: until for n, until in self._shunned.items() if until > now_ms}
        told_ms = context.config.link_shunned_ms
        self._given_up = {n: link for n, link in self._given_up.items() if now_ms - link.changed_ms < told_ms}
        for node_id, since_ms in list(self._asked.items()):
            if now_ms - since_ms >= ASK_TIMEOUT_MS:
                del self._asked[node_id]
                self._shun(node_id, self._retry_ms())
                self._failures += 1
        for node_id in [n for n in (*self.linked, *self._asked) if not self._is_usable(n)]:
            self.linked.pop(node_id, None)
            self._asked.pop(node_id, None)
        target = context.config.links_target
        is_whole = not self._asked and min(target, context.living() - 1) <= len(self.linked) <= target + 1
        wait_ms = context.jittered(IDLE_MAINTAIN_MS if is_whole else MAINTAIN_MS)
        context.timers.set_earlier("links", now_ms + wait_ms)
        self._ask_wanted()
        self.pin()

    def swap(self) -> None:
        """One random link is given up, so that views stay random and bad luck does not last."""
        config = self._context.config
        spread = config.swap_jitter_ms
        self._context.wake_in("swap", config.swap_interval_ms + self._context.rng.randint(-spread, spread))
        if self._context.living() > config.full_mesh_max and len(self.linked) >= config.links_target:
            others = [link for link in self.linked.values() if not link.is_ring]
            lazy = [link for link in others if not link.is_eager]  # the broadcast tree loses nothing by them
            if others:
                self.drop(self._context.rng.choice(lazy or others).node_id, DropReason.OPTIMISE)
        self._bad = {n: times for n, times in self._bad.items() if n not in self.linked}

    def is_pinned(self, node_id: NodeId) -> bool:
        return node_id in self._pinned

    def pin(self) -> None:
        pinned = frozenset((*self.linked, *self._asked))
        if pinned != self._pinned:
            self._pinned = pinned
            self._context.emit(PinLinks(pinned))

    # Inner.

    def _ask_wanted(self) -> None:
        context, config = self._context, self._context.config
        small = context.living() <= config.full_mesh_max
        is_first = context.uptime_ms < FIRST_MS
        if is_first:
            self.review(after_ms=FIRST_MS)
            if len(self.linked) + len(self._asked) >= FIRST_LINKS:
                return  # who was let in a moment ago is not known to everybody yet: they would refuse us
        ring = () if small else self._ring()
        for link in self.linked.values():
            link.is_ring = link.node_id in ring
        for node_id in ring:
            entry = context.table.get(node_id)
            if entry is not None and node_id not in self.linked and node_id not in self._asked:
                self._ask(entry, is_priority=True)
        target = config.full_mesh_max if small else FIRST_LINKS if is_first else config.links_target
        missing = target - len(self.linked) - len(self._asked)
        if missing > 1 and not small and not is_first and context.now_ms - self._filled_ms >= FILL_MS:
            missing = (missing + 1) // 2  # others ask us meanwhile: asking for all would make twice as many
        elif not small and len(self.linked) + len(self._asked) >= LOW_DEGREE:
            missing = missing if context.now_ms - self._filled_ms >= FILL_MS else 0
        if missing > 0:
            self._filled_ms = -1_000_000 if is_first else context.now_ms
            for entry in self._random(missing):
                self._ask(entry, is_priority=small or len(self.linked) < LOW_DEGREE)
        if not small:
            self._trim()

    def _trim(self) -> None:
        """After many asked one another at once, views are too large: links whose both ends have more than
        enough go, by the word of the end with the lower id. Edges of the broadcast tree stay: one too many
        costs less than a piece cut off."""
        if self._context.now_ms - self._context.grew_ms < QUIET_MS:
            return
        surplus = min(1, len(self.linked) - self._context.config.links_target)
        for link in list(self.linked.values()):
            if surplus <= 0:
                break
            may_go = link.degree > self._context.config.links_target and self._context.my_id < link.node_id
            if may_go and not link.is_ring and not link.is_eager:
                self.drop(link.node_id, DropReason.OPTIMISE)
                surplus -= 1

    def _ring(self) -> tuple[NodeId, ...]:
        """The nearest usable ids either way. A bad or shunned one is passed over, and the next serves."""
        table, me = self._context.table, self._context.my_id
        found: dict[NodeId, None] = {}
        for entries in (table.ring(me), table.ring_backwards(me)):
            for entry in entries:
                if self._is_here(entry) and (
                    entry.node_id in self.linked or entry.node_id not in self._shunned
                ):
                    found[entry.node_id] = None
                    break
        return tuple(found)

    def _random(self, count: int) -> Iterable[Entry]:
        """Vouched ones first: who is known from disk only may be long gone."""
        table, rng = self._context.table, self._context.rng
        usable = [entry for entry in table if self._may_ask(entry)]
        known = [entry for entry in usable if entry.is_vouched]
        if len(known) < count:
            unheard = [entry for entry in usable if not entry.is_vouched]
            return (*known, *rng.sample(unheard, min(count - len(known), len(unheard))))
        return rng.sample(known, count)

    def _candidates(self, *, but: NodeId) -> tuple[NodeId, ...]:
        living = [e.node_id for e in self._context.table if e.state is MemberState.ALIVE and e.node_id != but]
        return tuple(self._context.rng.sample(living, min(CANDIDATES, len(living))))

    def _may_ask(self, entry: Entry) -> bool:
        node_id = entry.node_id
        # With hardly a link left nobody is too bad to be asked.
        is_shunned = node_id in self._shunned and len(self.linked) >= LOW_DEGREE
        taken = node_id in self.linked or node_id in self._asked or is_shunned
        return not taken and self._is_here(entry)

    def _is_here(self, entry: Entry) -> bool:
        return entry.state not in GONE_STATES and not (entry.is_vouched and entry.is_suspected)

    def _is_usable(self, node_id: NodeId) -> bool:
        entry = self._context.table.get(node_id)
        return entry is not None and entry.state not in GONE_STATES

    def _ask(self, entry: Entry, *, is_priority: bool) -> None:
        self._asked[entry.node_id] = self._context.now_ms
        self.review(after_ms=ASK_TIMEOUT_MS + SETTLE_MS)
        if entry.node_id in self.up:  # else the link begins with a hello by itself
            self._context.send(entry.node_id, self.hello())
        self._context.send(entry.node_id, LinkReq(priority=is_priority, degree=len(self.linked)))

    def _add(self, node_id: NodeId) -> None:
        now_ms = self._context.now_ms
        self._asked.pop(node_id, None)
        self._given_up.pop(node_id, None)
        is_up = node_id in self.up
        link = Link(node_id=node_id, since_ms=now_ms, changed_ms=now_ms, heard_ms=now_ms, is_up=is_up)
        self.linked[node_id] = link
        self._context.timers.set_earlier("silence", now_ms + self._context.config.silence_ms)
        self.review()

    def _evict(self) -> bool:
        # One that has few links itself would only come back: whoever asks is sent to the others instead.
        others = [
            link.node_id for link in self.linked.values() if not link.is_ring and link.degree >= LOW_DEGREE
        ]
        if not others:
            return False
        self.drop(self._context.rng.choice(others), DropReason.EVICT)
        return True

    def _shun(self, node_id: NodeId, for_ms: int) -> None:
        self._shunned[node_id] = max(self._shunned.get(node_id, 0), self._context.now_ms + for_ms)

    def _bad_ms(self, node_id: NodeId) -> int:
        """How long a peer whose link failed is passed over: doubled each time, for a network may be bad as
        a whole and then every link must be tried again soon."""
        config = self._context.config
        times = self._bad.get(node_id, 0)
        self._bad[node_id] = times + 1
        return min(config.link_shunned_ms, config.link_retry_max_ms << min(times, 8))

    def _retry_ms(self) -> int:
        config = self._context.config
        longest = min(config.link_retry_max_ms, config.link_retry_min_ms << min(self._failures, 8))
        return self._context.rng.randint(config.link_retry_min_ms, max(config.link_retry_min_ms, longest))

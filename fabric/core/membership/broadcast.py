"""News to everybody along the links: state, not messages.

Plumtree (2007) over the active view. Payloads are pushed on *eager* links, which settle into a tree because
a receiver prunes a link that brings what it had; *lazy* links are only told which versions are new, and a
node that misses one asks for it, which grafts that link into the tree again. What waits is a set of node
ids: of each only the newest word is sent, so nothing can pile up. Accusations, votes, verdicts and
farewells are few and must not wait for a tree that is just breaking: they flood all links, once each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fabric.core.membership.context import Context
from fabric.core.membership.links import Links
from proto.ids import NodeId
from proto.membership import (
    REMOVALS_MAX,
    STATES_MAX,
    VERDICTS_MAX,
    VERSIONS_MAX,
    VOTES_MAX,
    Ballot,
    Down,
    Have,
    Leave,
    LoadState,
    NodeState,
    Prune,
    Removal,
    State,
    Suspect,
    Verdict,
    Version,
    Versions,
    Vote,
    Want,
)

LOADS_SENT = 96  # in one message: full-size ones still fit its bound
WANTS_TRIED = 3  # links asked for one missing version, one after another


@dataclass(slots=True)
class Lane:
    """What waits of one kind of news: records, which hurry, or loads, which are many."""

    is_load: bool
    flush_key: str
    have_key: str
    want_key: str
    waiting: dict[NodeId, NodeId | None] = field(default_factory=dict)  # whose news -> the link it came by
    told: dict[NodeId, NodeId | None] = field(default_factory=dict)  # what lazy links are still to be told of
    missing: dict[NodeId, tuple[Version, list[NodeId]]] = field(default_factory=dict)
    flushed_ms: int = -1_000


class Broadcaster:
    def __init__(self, context: Context, links: Links) -> None:
        self._context = context
        self._links = links
        self._records = Lane(is_load=False, flush_key="flush", have_key="have", want_key="want")
        self._loads = Lane(
            is_load=True, flush_key="flush_loads", have_key="have_loads", want_key="want_loads"
        )
        self._suspicions: list[Vote] = []
        self._votes: list[Vote] = []
        self._verdicts: list[Verdict] = []
        self._removals: list[Removal] = []
        self._flood_but: set[NodeId | None] = set()
        self._flooded_ms = -1_000
        self._recent = 0  # records pushed in the running second
        self._second = 0

    # Something is new.

    def push_state(self, node_id: NodeId, source: NodeId | None) -> None:
        """The record of `node_id` changed; `source` is the link that told us, None for ourselves."""
        self._push(self._records, node_id, source)

    def push_everywhere(self, node_id: NodeId) -> None:
        """A refutation must not wait for a tree that may be broken: to all links at once, eager or lazy."""
        state = self._state_of(node_id)
        lazy = self._links.lazy()
        if state is not None and lazy:
            self._context.send_all(lazy, State(states=(state,)))

    def push_load(self, node_id: NodeId, source: NodeId | None) -> None:
        self._push(self._loads, node_id, source)

    def flood_suspicion(self, vote: Vote, source: NodeId | None) -> None:
        self._suspicions.append(vote)
        self._flood(source)

    def flood_vote(self, vote: Vote, source: NodeId | None) -> None:
        self._votes.append(vote)
        self._flood(source)

    def flood_verdict(self, verdict: Verdict, source: NodeId | None) -> None:
        self._verdicts.append(verdict)
        self._flood(source)

    def flood_removal(self, removal: Removal, source: NodeId | None) -> None:
        self._removals.append(removal)
        self._flood(source)

    def flood_leave(self, state: NodeState, source: NodeId | None) -> None:
        """At once: its owner is about to be gone."""
        self._context.send_all(self._links.ids(but=source), Leave(state=state))

    # What links tell.

    def on_pushed(self, sender: NodeId, *, was_new: bool) -> None:
        """A payload came by an eager link."""
        counters = self._context.counters
        counters["payloads"] += 1
        link = self._links.get(sender)
        if was_new:
            if link is not None:
                link.is_eager = True
            return
        counters["payloads_duplicate"] += 1
        if link is not None and link.is_eager and self._count_eager() > self._context.config.eager_min:
            link.is_eager = False
            self._context.send(sender, Prune())

    def on_prune(self, sender: NodeId) -> None:
        link = self._links.get(sender)
        if link is not None and self._count_eager() > 1:
            link.is_eager = False

    def on_graft(self, sender: NodeId) -> None:
        link = self._links.get(sender)
        if link is not None:
            link.is_eager = True

    def on_have(self, sender: NodeId, lacking: Sequence[Version]) -> None:
        """`lacking`: what the sender has and we have not. The payload may be under way: wait a little."""
        config, table = self._context.config, self._context.table
        for version in lacking:
            entry = table.get(version.node_id)
            is_load = entry is not None and entry.signed.order == _order(version)
            lane = self._loads if is_load else self._records
            wait_ms = config.load_want_after_ms if is_load else config.want_after_ms
            known = lane.missing.get(version.node_id)
            if known is not None:
                newest = max(version, known[0], key=lambda each: (*_order(each), each.load))
                if sender not in known[1] and len(known[1]) < WANTS_TRIED:
                    known[1].append(sender)
                lane.missing[version.node_id] = (newest, known[1])
            elif len(lane.missing) < config.members_max:
                lane.missing[version.node_id] = (version, [sender])
            self._context.timers.set_earlier(lane.want_key, self._context.now_ms + wait_ms)

    def flush_wants(self, *, is_load: bool = False) -> None:
        """Asks for what is still missing. A missing record grafts the link asked; a missing load does not:
        the tree is shaped by what hurries."""
        context, config = self._context, self._context.config
        lane = self._loads if is_load else self._records
        asked: dict[NodeId, list[Version]] = {}
        for node_id, (version, senders) in list(lane.missing.items()):
            mine = self._known(node_id)
            if _covers(mine, version) or not senders:
                del lane.missing[node_id]
                continue
            asked.setdefault(senders.pop(0), []).append(
                mine or Version(node_id=node_id, epoch=0, incarnation=0, version=0)
            )
        for sender, versions in asked.items():
            if not is_load:
                context.counters["grafts"] += 1
                self.on_graft(sender)
            for at in range(0, len(versions), VERSIONS_MAX):
                part = Versions.of(versions[at : at + VERSIONS_MAX])
                context.send(sender, Want(versions=part, graft=not is_load))
        if lane.missing:
            wait_ms = config.load_want_after_ms if is_load else config.want_after_ms
            context.timers.set_earlier(lane.want_key, context.now_ms + wait_ms)

    # Going out.

    def flush(self) -> None:
        """Sends what hurries: floods, then records."""
        self._flush_floods()
        self._count(len(self._records.waiting))
        busy = self._is_busy()
        config = self._context.config
        self._flush_lane(self._records, config.have_busy_ms if busy else config.have_idle_ms)

    def flush_loads(self) -> None:
        self._flush_lane(self._loads, self._context.config.load_have_ms)

    def flush_haves(self, *, is_load: bool = False) -> None:
        lane = self._loads if is_load else self._records
        told, lane.told = lane.told, {}
        lazy = self._links.lazy()
        if not lazy or not told:
            return
        versions = [version for node_id in told if (version := self._known(node_id)) is not None]
        for at in range(0, len(versions), VERSIONS_MAX):
            self._context.send_all(lazy, Have(versions=Versions.of(versions[at : at + VERSIONS_MAX])))

    def _push(self, lane: Lane, node_id: NodeId, source: NodeId | None) -> None:
        """At the end of this event while news is rare, else with the next batch."""
        context, config = self._context, self._context.config
        lane.waiting[node_id] = source
        wait_ms = config.load_batch_ms if lane.is_load else config.batch_ms if self._is_busy() else 0
        context.timers.set_earlier(lane.flush_key, max(context.now_ms, lane.flushed_ms + wait_ms))

    def _flush_lane(self, lane: Lane, have_in_ms: int) -> None:
        context = self._context
        context.timers.cancel(lane.flush_key)
        lane.flushed_ms = context.now_ms
        waiting, lane.waiting = lane.waiting, {}
        self._push_out(waiting, is_load=lane.is_load)
        if waiting:
            lane.told.update(waiting)
            context.timers.set_earlier(lane.have_key, context.now_ms + have_in_ms)

    def _push_out(self, waiting: dict[NodeId, NodeId | None], *, is_load: bool) -> None:
        """One message for all links where the news has one source, which is not told again; else each
        link gets what did not come by it."""
        if not waiting:
            return
        sources = set(waiting.values())
        if len(sources) == 1:
            (source,) = sources
            for message in self._messages(list(waiting), is_load=is_load):
                self._context.send_all(self._links.eager(but=source), message)
            return
        for link in self._links.eager():
            ids = [node_id for node_id, source in waiting.items() if source != link]
            for message in self._messages(ids, is_load=is_load):
                self._context.send(link, message)

    def _messages(self, ids: Sequence[NodeId], *, is_load: bool) -> list[State]:
        if is_load:
            loads = [load for node_id in ids if (load := self._load_of(node_id)) is not None]
            return [
                State(loads=tuple(loads[at : at + LOADS_SENT]), eager=True)
                for at in range(0, len(loads), LOADS_SENT)
            ]
        states = [state for node_id in ids if (state := self._state_of(node_id)) is not None]
        return [
            State(states=batch, eager=True)
            for batch in batches(states, self._context.config.states_bytes_max)
        ]

    def _flush_floods(self) -> None:
        # What came by several links is sent to all of them: a second copy costs less than telling who has
        # which.
        if not self._flood_but:
            return
        self._flooded_ms = self._context.now_ms
        but = next(iter(self._flood_but)) if len(self._flood_but) == 1 else None
        to = self._links.ids(but=but)
        self._flood_but = set()
        suspicions, self._suspicions = self._suspicions, []
        votes, self._votes = self._votes, []
        verdicts, self._verdicts = self._verdicts, []
        removals, self._removals = self._removals, []
        for at in range(0, len(suspicions), VOTES_MAX):
            self._context.send_all(to, Suspect(votes=tuple(suspicions[at : at + VOTES_MAX])))
        for at in range(0, len(votes), VOTES_MAX):
            self._context.send_all(to, Ballot(votes=tuple(votes[at : at + VOTES_MAX])))
        for at in range(0, len(verdicts), VERDICTS_MAX):
            self._context.send_all(to, Down(verdicts=tuple(verdicts[at : at + VERDICTS_MAX])))
        for at in range(0, len(removals), REMOVALS_MAX):
            self._context.send_all(to, State(removals=tuple(removals[at : at + REMOVALS_MAX])))

    def _flood(self, source: NodeId | None) -> None:
        """The first at once; what follows within a batch's time goes together."""
        self._flood_but.add(source)
        context = self._context
        context.timers.set_earlier("flush", max(context.now_ms, self._flooded_ms + context.config.batch_ms))

    def _is_busy(self) -> bool:
        return (
            self._context.now_ms // 1_000 == self._second
            and self._recent > self._context.config.batch_above_per_s
        )

    def _count(self, items: int) -> None:
        second = self._context.now_ms // 1_000
        if second != self._second:
            # half of the last second's count is kept, so that a steady stream stays one
            self._recent = self._recent // 2 if second == self._second + 1 else 0
            self._second = second
        self._recent += items

    def _count_eager(self) -> int:
        return sum(link.is_eager for link in self._links.linked.values())

    def _known(self, node_id: NodeId) -> Version | None:
        table = self._context.table
        if node_id == self._context.my_id:
            return table.my_version
        entry = table.get(node_id)
        return None if entry is None else entry.version

    def _state_of(self, node_id: NodeId) -> NodeState | None:
        if node_id == self._context.my_id:
            return self._context.table.me.state
        entry = self._context.table.get(node_id)
        return None if entry is None else entry.signed.state

    def _load_of(self, node_id: NodeId) -> LoadState | None:
        if node_id == self._context.my_id:
            return self._context.table.my_load
        entry = self._context.table.get(node_id)
        return None if entry is None else entry.load


def batches(states: Sequence[NodeState], bytes_max: int) -> list[tuple[NodeState, ...]]:
    """In as many messages as the bounds ask for."""
    done: list[tuple[NodeState, ...]] = []
    batch: list[NodeState] = []
    size_bytes = 0
    for state in states:
        if batch and (len(batch) == STATES_MAX or size_bytes + state.size_bytes > bytes_max):
            done.append(tuple(batch))
            batch, size_bytes = [], 0
        batch.append(state)
        size_bytes += state.size_bytes
    if batch:
        done.append(tuple(batch))
    return done


def _order(version: Version) -> tuple[int, int, int]:
    return (version.epoch, version.incarnation, version.version)


def _covers(mine: Version | None, theirs: Version) -> bool:
    """Whether we have all that `theirs` promises, but for verdicts, which flood."""
    if mine is None:
        return False
    record = (mine.epoch, mine.incarnation, mine.version)
    theirs_record = (theirs.epoch, theirs.incarnation, theirs.version)
    if record != theirs_record:
        return record > theirs_record
    return mine.load >= theirs.load

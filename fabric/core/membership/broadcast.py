"""News to everybody along the links: state, not messages.

Plumtree (2007) over the active view. Payloads are pushed on *eager* links, which are a tree (`tree.py`);
*lazy* links are told a little later which records are new, and a node that misses one asks for it. While
the fabric grows the tree is in flux, and what is rare goes to lazy links as well. Loads are many and never
urgent: they travel in batches and lazy links are not told of them, for whoever missed one gets it when
roots are compared. What waits is a set of node ids: of each only the newest word is sent, so nothing can
pile up. Accusations, votes, verdicts and farewells are few and must not wait for a tree that is just
breaking: they flood all links, once each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from fabric.core.membership.context import Context
from fabric.core.membership.links import Links
from fabric.core.membership.tree import BroadcastTree
from proto.ids import NodeId
from proto.membership import (
    HOPS_MAX,
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
    waiting: dict[NodeId, NodeId | None] = field(default_factory=dict)  # whose news -> the link it came by
    flushed_ms: int = -1_000


class Broadcaster:
    def __init__(self, context: Context, links: Links, tree: BroadcastTree) -> None:
        self._context = context
        self._links = links
        self._tree = tree
        self._records = Lane(is_load=False, flush_key="flush")
        self._loads = Lane(is_load=True, flush_key="flush_loads")
        self._told: dict[NodeId, None] = {}  # whose records lazy links are still to be told of
        self._missing: dict[NodeId, tuple[Version, list[NodeId]]] = {}
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
        self._push_aside({node_id: None})

    def push_load(self, node_id: NodeId, source: NodeId | None) -> None:
        self._push(self._loads, node_id, source)

    def push_shaping(self, load: LoadState, source: NodeId | None, hops: int) -> None:
        """The load that shapes the tree: alone and at once, so that it takes the shortest way. It came over
        `hops` links."""
        self._tree.on_word(load, source, hops)
        self._context.send_all(
            self._links.eager(but=source), State(loads=(load,), eager=True, hops=min(hops + 1, HOPS_MAX))
        )

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

    def on_have(self, sender: NodeId, lacking: Sequence[Version]) -> None:
        """`lacking`: what the sender has and we have not. The payload may be under way: wait a little, and
        longer while this node is unwell (Lifeguard), for then what is late is most likely waiting here."""
        config = self._context.config
        for version in lacking:
            known = self._missing.get(version.node_id)
            if known is not None:
                newest = max(version, known[0], key=lambda each: (*_order(each), each.load))
                if sender not in known[1] and len(known[1]) < WANTS_TRIED:
                    known[1].append(sender)
                self._missing[version.node_id] = (newest, known[1])
            elif len(self._missing) < config.members_max:
                self._missing[version.node_id] = (version, [sender])
        self._want_later()

    def flush_wants(self) -> None:
        """Asks for what is still missing."""
        context = self._context
        asked: dict[NodeId, list[Version]] = {}
        for node_id, (version, senders) in list(self._missing.items()):
            mine = self._known(node_id)
            if _covers(mine, version) or not senders:
                del self._missing[node_id]
                continue
            asked.setdefault(senders.pop(0), []).append(
                mine or Version(node_id=node_id, epoch=0, incarnation=0, version=0)
            )
        for sender, versions in asked.items():
            for at in range(0, len(versions), VERSIONS_MAX):
                part = Versions.of(versions[at : at + VERSIONS_MAX])
                context.send(sender, Want(versions=part, graft=False))
        self._want_later()

    # Going out.

    def flush(self) -> None:
        """Sends what hurries: floods, then records."""
        context, config = self._context, self._context.config
        self._flush_floods()
        self._count(len(self._records.waiting))
        waiting = self._take_waiting(self._records)
        self._push_out(waiting, is_load=False)
        is_busy = self._is_busy()
        if self._tree.is_growing and not is_busy:
            self._push_aside(waiting)
        elif waiting:
            self._told |= dict.fromkeys(waiting)
            wait_ms = config.have_busy_ms if is_busy else config.have_idle_ms
            context.timers.set_earlier("have", context.now_ms + wait_ms)

    def flush_loads(self) -> None:
        self._push_out(self._take_waiting(self._loads), is_load=True)

    def flush_haves(self) -> None:
        told, self._told = self._told, {}
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

    def _want_later(self) -> None:
        context = self._context
        if self._missing:
            wait_ms = context.config.want_after_ms * context.awareness.factor
            context.timers.set_earlier("want", context.now_ms + wait_ms)

    def _take_waiting(self, lane: Lane) -> dict[NodeId, NodeId | None]:
        context = self._context
        context.timers.cancel(lane.flush_key)
        lane.flushed_ms = context.now_ms
        waiting, lane.waiting = lane.waiting, {}
        return waiting

    def _push_aside(self, waiting: dict[NodeId, NodeId | None]) -> None:
        """To lazy links. Not as pushed along the tree: it would look like copies on it."""
        for node_id, source in waiting.items():
            state = self._state_of(node_id)
            if state is not None:
                to = [link for link in self._links.lazy() if link != source]
                self._context.send_all(to, State(states=(state,)))

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

"""What waits for one link that is full or not up yet: state, not messages.

Theory. Almost all that membership says is news *about a node*, and only the newest word counts. So the news
wait by node, a newer word takes an older one's place, and a link that was away for an hour has no more to
carry than one word of each kind about each node. Messages that are no news (pings, requests, digests) wait
in a short queue, which loses its oldest: whoever asks asks again. Going out, membership is before loads,
always.

Invariant: bytes held <= CONTROL_BYTES_MAX + nodes * (one state + one verdict + one load + one version) +
votes.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from proto.envelope import Message
from proto.errors import WireError
from proto.ids import NodeId
from proto.membership import (
    LOADS_MAX,
    REMOVALS_MAX,
    STATES_MAX,
    VERDICTS_MAX,
    VERSIONS_MAX,
    VOTES_MAX,
    Ballot,
    Beat,
    Down,
    Have,
    LoadState,
    MembershipMessage,
    NodeState,
    Removal,
    State,
    Suspect,
    Verdict,
    Version,
    Versions,
    Vote,
    decode_body,
    decode_removal,
)

CONTROL_FRAMES_MAX = 256
CONTROL_BYTES_MAX = 1 << 20
CONTROL_AGE_MS_MAX = 10_000  # longer than any dial takes; older questions nobody asks any more
VOTES_WAITING_MAX = 1_024  # of each kind; a vote is about 0.2 KB
NODES_MAX = 16_384  # of whom news may wait; above the largest table
STATE_BYTES_MAX = 256 * 1024  # of one frame's states, far below a frame's bound
_READ_MAX = 4_096

Encode = Callable[[Message], bytes]
SendFrame = Callable[[bytes], bool]
Order = tuple[int, int, int]
K = TypeVar("K")
V = TypeVar("V")
_Vote = tuple[NodeId, NodeId]


class LinkQueue:
    """`dropped` counts what was lost to a bound, by reason."""

    def __init__(self, dropped: Counter[str], nodes_max: int = NODES_MAX) -> None:
        self._dropped = dropped
        self._nodes_max = nodes_max
        self._beat: bytes | None = None  # only the last one is of interest
        self._control: deque[tuple[int, bytes]] = deque()  # (when, frame)
        self._control_bytes = 0
        self._suspicions: dict[_Vote, Vote] = {}
        self._ballots: dict[_Vote, Vote] = {}
        self._verdicts: dict[NodeId, Verdict] = {}
        self._removals: dict[NodeId, Removal] = {}
        self._states: dict[NodeId, tuple[Order, NodeState, int, bool]] = {}  # order, state, age, eager
        self._haves: dict[NodeId, Version] = {}
        self._loads: dict[NodeId, tuple[LoadState, bool]] = {}  # load, eager

    def __len__(self) -> int:
        """How many things wait: frames and words about nodes."""
        return (self._beat is not None) + sum(map(len, (self._control, *self._news())))

    def __bool__(self) -> bool:
        return self._beat is not None or bool(self._control) or any(self._news())

    def add(self, message: MembershipMessage, encode: Encode, now_ms: int) -> None:
        """Raises WireError when the message can never be sent."""
        match message:
            case Beat():
                self._beat = encode(message)
            case State():
                self._add_state(message)
            case Have(versions=versions):
                for version in versions:
                    self._merge(self._haves, version.node_id, version, _version_order)
            case Down(verdicts=verdicts):
                for verdict in verdicts:
                    self._merge(self._verdicts, verdict.target, verdict, _verdict_order)
            case Suspect(votes=votes):
                self._add_votes(self._suspicions, votes)
            case Ballot(votes=votes):
                self._add_votes(self._ballots, votes)
            case _:
                self._add_control(encode(message), now_ms)

    def drop_control(self) -> None:
        """The link was lost: what was asked on it is asked anew, or of somebody else. News keep their
        worth."""
        self._dropped["queue_link_lost"] += len(self._control)
        self._control.clear()
        self._control_bytes = 0
        self._beat = None

    def flush(self, send: SendFrame, encode: Encode, now_ms: int) -> bool:
        """Sends until nothing waits (True) or `send` says no (False); what it refused waits on."""
        return (
            self._flush_control(send, now_ms)
            and self._flush_votes(self._suspicions, Suspect, send, encode)
            and self._flush_votes(self._ballots, Ballot, send, encode)
            and self._flush_verdicts(send, encode)
            and self._flush_states(send, encode)
            and self._flush_haves(send, encode)
            and self._flush_loads(send, encode)
        )

    def _news(self) -> tuple[dict[NodeId, object], ...]:
        return (  # type: ignore[return-value]  # only asked whether, and how much, there is
            self._suspicions,
            self._ballots,
            self._verdicts,
            self._removals,
            self._states,
            self._haves,
            self._loads,
        )

    # In.

    def _add_control(self, frame: bytes, now_ms: int) -> None:
        self._control.append((now_ms, frame))
        self._control_bytes += len(frame)
        while len(self._control) > CONTROL_FRAMES_MAX or self._control_bytes > CONTROL_BYTES_MAX:
            self._drop_oldest("queue_full")

    def _drop_oldest(self, reason: str) -> None:
        _, frame = self._control.popleft()
        self._control_bytes -= len(frame)
        self._dropped[reason] += 1

    def _add_state(self, message: State) -> None:
        ages = message.ages_ms or (0,) * len(message.states)
        for state, age_ms in zip(message.states, ages, strict=True):
            owner, order = _owner_and_order(state.body)
            known = self._states.get(owner)
            eager = message.eager
            if known is not None and known[0] > order:
                continue
            if known is not None and known[0] == order:  # asked for is the milder word: no prune answers it
                eager = eager and known[3]
            self._keep(self._states, owner, (order, state, age_ms, eager))
        for removal in message.removals:
            _, removed, _ = decode_removal(removal.body)
            self._keep(self._removals, removed, removal)
        for load in message.loads:
            waiting = self._loads.get(load.node_id)
            if waiting is None or load.order >= waiting[0].order:
                self._keep(self._loads, load.node_id, (load, message.eager))

    def _add_votes(self, waiting: dict[_Vote, Vote], votes: Iterable[Vote]) -> None:
        for vote in votes:
            key = (vote.target, vote.voter)
            known = waiting.pop(key, None)
            waiting[key] = vote if known is None or _vote_order(vote) >= _vote_order(known) else known
        while len(waiting) > VOTES_WAITING_MAX:
            del waiting[next(iter(waiting))]
            self._dropped["queue_full"] += 1

    def _merge(
        self, waiting: dict[NodeId, V], node_id: NodeId, news: V, order: Callable[[V], tuple[int, ...]]
    ) -> None:
        known = waiting.get(node_id)
        if known is None or order(news) >= order(known):
            self._keep(waiting, node_id, news)

    def _keep(self, waiting: dict[NodeId, V], node_id: NodeId, news: V) -> None:
        if node_id not in waiting and len(waiting) >= self._nodes_max:
            self._dropped["queue_full"] += 1
        else:
            waiting[node_id] = news

    # Out.

    def _flush_control(self, send: SendFrame, now_ms: int) -> bool:
        if self._beat is not None:
            if not send(self._beat):
                return False
            self._beat = None
        while self._control:
            since_ms, frame = self._control[0]
            if now_ms - since_ms > CONTROL_AGE_MS_MAX:
                self._drop_oldest("queue_stale")
            elif send(frame):
                self._control.popleft()
                self._control_bytes -= len(frame)
            else:
                return False
        return True

    def _flush_votes(
        self,
        waiting: dict[_Vote, Vote],
        kind: type[Suspect] | type[Ballot],
        send: SendFrame,
        encode: Encode,
    ) -> bool:
        while waiting:
            keys = _first(waiting, VOTES_MAX)
            if not send(encode(kind(votes=tuple(waiting[key] for key in keys)))):
                return False
            _delete(waiting, keys)
        return True

    def _flush_verdicts(self, send: SendFrame, encode: Encode) -> bool:
        while self._verdicts:
            keys = _first(self._verdicts, VERDICTS_MAX)
            if not send(encode(Down(verdicts=tuple(self._verdicts[key] for key in keys)))):
                return False
            _delete(self._verdicts, keys)
        return True

    def _flush_states(self, send: SendFrame, encode: Encode) -> bool:
        while self._removals:
            keys = _first(self._removals, REMOVALS_MAX)
            if not send(encode(State(removals=tuple(self._removals[key] for key in keys)))):
                return False
            _delete(self._removals, keys)
        while self._states:
            keys, eager = self._next_states()
            chosen = [self._states[key] for key in keys]
            ages = tuple(age_ms for _, _, age_ms, _ in chosen)
            message = State(
                states=tuple(state for _, state, _, _ in chosen),
                ages_ms=ages if any(ages) else (),
                eager=eager,
            )
            if not send(encode(message)):
                return False
            _delete(self._states, keys)
        return True

    def _next_states(self) -> tuple[list[NodeId], bool]:
        """As many as one frame takes, all of one eagerness, in the order they came."""
        eager = next(iter(self._states.values()))[3]
        keys: list[NodeId] = []
        size_bytes = 0
        for node_id, (_, state, _, is_eager) in self._states.items():
            if is_eager is not eager:
                continue
            size_bytes += state.size_bytes
            if keys and (len(keys) == STATES_MAX or size_bytes > STATE_BYTES_MAX):
                break
            keys.append(node_id)
        return keys, eager

    def _flush_haves(self, send: SendFrame, encode: Encode) -> bool:
        while self._haves:
            keys = _first(self._haves, VERSIONS_MAX)
            if not send(encode(Have(versions=Versions.of(self._haves[key] for key in keys)))):
                return False
            _delete(self._haves, keys)
        return True

    def _flush_loads(self, send: SendFrame, encode: Encode) -> bool:
        while self._loads:
            eager = next(iter(self._loads.values()))[1]
            keys: list[NodeId] = []
            size_bytes = 0
            for node_id, (load, is_eager) in self._loads.items():
                size_bytes += len(load.body)
                if len(keys) == LOADS_MAX or (keys and size_bytes > STATE_BYTES_MAX):
                    break
                if is_eager is eager:
                    keys.append(node_id)
            if not send(encode(State(loads=tuple(self._loads[key][0] for key in keys), eager=eager))):
                return False
            _delete(self._loads, keys)
        return True


def _first(waiting: dict[K, V], count: int) -> list[K]:
    return [key for key, _ in zip(waiting, range(count), strict=False)]


def _delete(waiting: dict[K, V], keys: Iterable[K]) -> None:
    for key in keys:
        del waiting[key]


@lru_cache(maxsize=_READ_MAX)
def _owner_and_order(body: bytes) -> tuple[NodeId, Order]:
    """Whose word a state's body is, and how new. Our own core believed it before, so it reads; still
    bounded."""
    record, _ = decode_body(body)
    node_id = record.get("node_id")
    numbers = (record.get("epoch"), record.get("incarnation", 0), record.get("version"))
    if not isinstance(node_id, str) or not all(type(number) is int for number in numbers):
        raise WireError("bad_field", "state body")
    return NodeId(node_id), numbers  # type: ignore[return-value]  # three ints, just checked


def _version_order(version: Version) -> tuple[int, ...]:
    return (version.epoch, version.incarnation, version.version, version.load, version.verdict)


def _verdict_order(verdict: Verdict) -> tuple[int, ...]:
    return verdict.order


def _vote_order(vote: Vote) -> tuple[int, int, int]:
    return (vote.epoch, vote.incarnation, vote.attempt)

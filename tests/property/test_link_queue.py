"""Whatever is added and however little the link takes: the newest word arrives, in order, within bounds."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from fabric.runtime.link_queue import CONTROL_FRAMES_MAX, LinkQueue
from proto.ids import NodeId
from proto.membership import Down, Have, MembershipMessage, Ping, State, Versions, decode_body
from tests.fixtures.membership_news import (
    from_frame,
    load_of,
    state_of,
    to_frame,
    verdict_of,
    version_of,
)

OWNERS = st.integers(1, 6)
ORDERS = st.tuples(st.integers(1, 2), st.integers(0, 2), st.integers(1, 4))
VERSIONS = st.integers(1, 9)


@dataclass(frozen=True)
class Flush:
    room: int  # frames the link takes this time


@st.composite
def ping(draw: st.DrawFn) -> Ping:
    return Ping(nonce=draw(st.integers(0, 1 << 40)))


STEPS = st.lists(
    st.one_of(
        st.builds(
            lambda news, eager: State(states=tuple(state_of(*each) for each in news), eager=eager),
            st.lists(st.tuples(OWNERS, ORDERS), min_size=1, max_size=4),
            st.booleans(),
        ),
        st.builds(
            lambda news, eager: State(loads=tuple(load_of(*each) for each in news), eager=eager),
            st.lists(st.tuples(OWNERS, VERSIONS), min_size=1, max_size=4),
            st.booleans(),
        ),
        st.builds(
            lambda news: Have(versions=Versions.of([version_of(*each) for each in news])),
            st.lists(st.tuples(OWNERS, VERSIONS), min_size=1, max_size=4),
        ),
        st.builds(lambda each: Down(verdicts=(verdict_of(*each),)), st.tuples(OWNERS, VERSIONS)),
        ping(),
        st.builds(Flush, st.integers(0, 3)),
    ),
    max_size=60,
)
Key = tuple[str, NodeId]


def words(message: MembershipMessage) -> list[tuple[Key, tuple[int, ...]]]:
    """What a message says, as (of which kind about whom, how new)."""
    said: list[tuple[Key, tuple[int, ...]]] = []
    if isinstance(message, State):
        for state in message.states:
            record, _ = decode_body(state.body)
            order = (record["epoch"], record["incarnation"], record["version"])
            said.append((("state", NodeId(str(record["node_id"]))), order))  # type: ignore[arg-type]
        said += [(("load", load.node_id), load.order) for load in message.loads]
    elif isinstance(message, Have):
        said += [(("have", v.node_id), (v.epoch, v.incarnation, v.version)) for v in message.versions]
    elif isinstance(message, Down):
        said += [(("verdict", verdict.target), verdict.order) for verdict in message.verdicts]
    return said


def is_load(message: MembershipMessage) -> bool:
    return isinstance(message, State) and bool(message.loads)


@given(STEPS)
def test_the_newest_word_arrives_in_order_and_within_bounds(steps: list[MembershipMessage | Flush]) -> None:
    queue = LinkQueue(Counter())
    sent: list[MembershipMessage] = []
    pings: list[Ping] = []
    waiting: dict[Key, tuple[int, ...]] = {}  # the obvious twin: newest of each kind about each node

    def flush(room: int) -> None:
        taken: list[MembershipMessage] = []

        def send(frame: bytes) -> bool:
            if len(taken) >= room:
                return False
            taken.append(from_frame(frame))
            return True

        is_empty = queue.flush(send, to_frame, 0)
        assert is_empty == (len(queue) == 0)
        loads = [is_load(message) for message in taken]
        assert loads == sorted(loads), "membership goes before loads"
        for message in taken:
            for key, order in words(message):
                assert waiting.pop(key) == order, "the newest word, once"
        sent.extend(taken)

    for step in steps:
        if isinstance(step, Flush):
            flush(step.room)
            continue
        queue.add(step, to_frame, 0)
        if isinstance(step, Ping):
            pings.append(step)
        for key, order in words(step):
            waiting[key] = max(order, waiting.get(key, order))
        questions = sum(isinstance(m, Ping) for m in sent)
        assert len(queue) == len(waiting) + len(pings) - questions
        assert len(pings) - questions <= CONTROL_FRAMES_MAX
    flush(1_000)
    assert not waiting
    assert [m for m in sent if isinstance(m, Ping)] == pings

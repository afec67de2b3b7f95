"""What waits for a link: news by node, the newest only; few questions, in order; membership before loads."""

from __future__ import annotations

from collections import Counter

from fabric.runtime import link_queue
from fabric.runtime.link_queue import (
    CONTROL_AGE_MS_MAX,
    CONTROL_BYTES_MAX,
    CONTROL_FRAMES_MAX,
    STATE_BYTES_MAX,
    VOTES_WAITING_MAX,
    LinkQueue,
)
from proto.codec import FRAME_BYTES_MAX
from proto.ids import NodeId
from proto.membership import (
    BODY_BYTES_MAX,
    STATES_MAX,
    Ballot,
    Beat,
    Down,
    Have,
    MembershipMessage,
    Ping,
    Prune,
    State,
    Suspect,
    Versions,
    Want,
)
from tests.fixtures.membership_news import (
    from_frame,
    load_of,
    node,
    removal_of,
    state_of,
    to_frame,
    verdict_of,
    version_of,
    vote_of,
)


class Link:
    """Takes `room` frames, then says no."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.room = room
        self.frames: list[bytes] = []

    def send(self, frame: bytes) -> bool:
        if self.room == 0:
            return False
        self.room -= 1
        self.frames.append(frame)
        return True

    @property
    def messages(self) -> list[MembershipMessage]:
        return [from_frame(frame) for frame in self.frames]


def queue_of(*messages: MembershipMessage, nodes_max: int = 1_000) -> tuple[LinkQueue, Counter[str]]:
    dropped: Counter[str] = Counter()
    queue = LinkQueue(dropped, nodes_max)
    for message in messages:
        queue.add(message, to_frame, 0)
    return queue, dropped


def drained(queue: LinkQueue) -> list[MembershipMessage]:
    link = Link()
    assert queue.flush(link.send, to_frame, 0)
    assert len(queue) == 0
    assert not queue
    return link.messages


def beat(seq: int) -> Beat:
    return Beat(seq=seq, epoch=1, incarnation=0, version=1, lag_ms=0, root=bytes(8), members=1, degree=1)


def test_only_the_newest_word_about_a_node_waits() -> None:
    queue, _ = queue_of(
        State(states=(state_of(1, (1, 0, 1)), state_of(2))),
        State(states=(state_of(1, (1, 0, 3)),)),
        State(states=(state_of(1, (1, 0, 2)),)),
        State(loads=(load_of(1, 5), load_of(2, 1))),
        State(loads=(load_of(1, 4), load_of(2, 2))),
    )
    assert len(queue) == 4
    states, loads = drained(queue)
    assert isinstance(states, State)
    assert isinstance(loads, State)
    assert set(states.states) == {state_of(1, (1, 0, 3)), state_of(2)}
    assert set(loads.loads) == {load_of(1, 5), load_of(2, 2)}


def test_membership_goes_before_loads_and_questions_before_both() -> None:
    queue, _ = queue_of(
        State(loads=(load_of(1),)),
        Have(versions=Versions.of([version_of(1)])),
        State(states=(state_of(1),)),
        State(removals=(removal_of(9),)),
        Down(verdicts=(verdict_of(1),)),
        Ballot(votes=(vote_of(1, 2),)),
        Suspect(votes=(vote_of(1, 3),)),
        Ping(nonce=1),
        beat(1),
    )
    kinds = [
        "loads" if isinstance(message, State) and message.loads else message.KIND
        for message in drained(queue)
    ]
    assert kinds == [
        "member.beat",
        "member.ping",
        "member.suspect",
        "member.vote",
        "member.down",
        "member.state",
        "member.state",
        "member.have",
        "loads",
    ]


def test_what_was_asked_for_and_what_is_pushed_do_not_mix() -> None:
    """A duplicate that was pushed is answered by a prune; one that was asked for is not."""
    queue, _ = queue_of(
        State(states=(state_of(1),), eager=True),
        State(states=(state_of(2),)),
        State(states=(state_of(3),), eager=True),
        State(states=(state_of(3),)),  # the same again, asked for: the milder word stands
        State(loads=(load_of(1),), eager=True),
        State(loads=(load_of(2),)),
    )
    sent = drained(queue)
    assert {m.eager: {*m.states} for m in sent if isinstance(m, State) and m.states} == {
        True: {state_of(1)},
        False: {state_of(2), state_of(3)},
    }
    assert {m.eager: {*m.loads} for m in sent if isinstance(m, State) and m.loads} == {
        True: {load_of(1)},
        False: {load_of(2)},
    }


def test_how_long_ago_somebody_left_travels_along() -> None:
    queue, _ = queue_of(State(states=(state_of(1), state_of(2)), ages_ms=(0, 7_000)))
    (message,) = drained(queue)
    assert isinstance(message, State)
    assert message.ages_ms == (0, 7_000)


def test_haves_are_merged() -> None:
    queue, _ = queue_of(
        Have(versions=Versions.of([version_of(1, 4), version_of(2, 1)])),
        Have(versions=Versions.of([version_of(1, 3), version_of(3, 1)])),
    )
    (message,) = drained(queue)
    assert isinstance(message, Have)
    assert set(message.versions) == {version_of(1, 4), version_of(2, 1), version_of(3, 1)}


def test_the_last_verdict_vote_and_beat_are_the_ones_that_wait() -> None:
    queue, _ = queue_of(
        Down(verdicts=(verdict_of(1, 2),)),
        Down(verdicts=(verdict_of(1, 1), verdict_of(2, 1))),
        Suspect(votes=(vote_of(1, 5, attempt=2),)),
        Suspect(votes=(vote_of(1, 5, attempt=1), vote_of(1, 6))),
        beat(1),
        beat(2),
    )
    assert drained(queue) == [
        beat(2),
        Suspect(votes=(vote_of(1, 5, attempt=2), vote_of(1, 6))),
        Down(verdicts=(verdict_of(1, 2), verdict_of(2, 1))),
    ]


def test_what_the_link_refuses_waits_on_and_nothing_is_sent_twice() -> None:
    queue, _ = queue_of(
        *(Ping(nonce=n) for n in range(3)),
        State(states=tuple(state_of(n) for n in range(STATES_MAX))),
        State(states=tuple(state_of(STATES_MAX + n) for n in range(STATES_MAX))),
    )
    links = [Link(room) for room in (2, 0, 1, 1)]
    for link in links:
        assert not queue.flush(link.send, to_frame, 0)
    rest = drained(queue)
    sent = [message for link in links for message in link.messages] + rest
    assert [m.nonce for m in sent if isinstance(m, Ping)] == [0, 1, 2]
    owners = [state for m in sent if isinstance(m, State) for state in m.states]
    assert len(owners) == len(set(owners)) == 2 * STATES_MAX


def test_news_that_comes_while_an_older_word_is_refused_replaces_it() -> None:
    queue, _ = queue_of(State(states=(state_of(1, (1, 0, 1)),)))
    assert not queue.flush(Link(0).send, to_frame, 0)
    queue.add(State(states=(state_of(1, (1, 0, 2)),)), to_frame, 0)
    (message,) = drained(queue)
    assert isinstance(message, State)
    assert message.states == (state_of(1, (1, 0, 2)),)


def test_questions_are_few_and_the_oldest_are_lost_and_counted() -> None:
    queue, dropped = queue_of(*(Ping(nonce=n) for n in range(CONTROL_FRAMES_MAX + 10)))
    assert [m.nonce for m in drained(queue) if isinstance(m, Ping)] == list(
        range(10, CONTROL_FRAMES_MAX + 10)
    )
    assert dropped == {"queue_full": 10}


def test_large_questions_are_bounded_by_their_bytes() -> None:
    want = Want(versions=Versions.of([version_of(n) for n in range(2_000)]), graft=False)
    queue, dropped = queue_of(*(want for _ in range(100)))
    sent = drained(queue)
    assert len(sent) * len(to_frame(want)) <= CONTROL_BYTES_MAX
    assert len(sent) + dropped["queue_full"] == 100


def test_a_question_too_old_is_not_asked() -> None:
    queue, dropped = queue_of(Ping(nonce=1))
    queue.add(Ping(nonce=2), to_frame, CONTROL_AGE_MS_MAX)
    link = Link()
    assert queue.flush(link.send, to_frame, CONTROL_AGE_MS_MAX + 1)
    assert link.messages == [Ping(nonce=2)]
    assert dropped == {"queue_stale": 1}


def test_votes_are_bounded() -> None:
    queue, dropped = queue_of(*(Suspect(votes=(vote_of(n, 1),)) for n in range(VOTES_WAITING_MAX + 5)))
    assert len(queue) == VOTES_WAITING_MAX
    assert dropped == {"queue_full": 5}


def test_news_are_bounded_by_the_number_of_nodes() -> None:
    queue, dropped = queue_of(
        *(State(states=(state_of(n),), loads=(load_of(n),)) for n in range(30)), nodes_max=20
    )
    queue.add(State(states=(state_of(1, (2, 0, 1)),)), to_frame, 0)  # of one that waits: there is room
    assert len(queue) == 40
    assert dropped == {"queue_full": 20}


def test_large_states_are_spread_over_frames_that_fit() -> None:
    states = tuple(state_of(n, padding=BODY_BYTES_MAX - 200) for n in range(STATES_MAX))
    queue, _ = queue_of(*(State(states=(state,)) for state in states))
    link = Link()
    assert queue.flush(link.send, to_frame, 0)
    assert max(map(len, link.frames)) < STATE_BYTES_MAX + BODY_BYTES_MAX + 1_000 < FRAME_BYTES_MAX
    assert {s for m in link.messages if isinstance(m, State) for s in m.states} == set(states)


def test_a_lost_link_loses_questions_and_keeps_news() -> None:
    queue, dropped = queue_of(Ping(nonce=1), Prune(), beat(1), State(states=(state_of(1),)))
    queue.drop_control()
    assert drained(queue) == [State(states=(state_of(1),))]
    assert dropped == {"queue_link_lost": 2}


def test_owners_are_read_from_what_they_signed() -> None:
    owner, order = link_queue._owner_and_order(state_of(7, (3, 1, 4)).body)
    assert (owner, order) == (node(7), (3, 1, 4))
    assert isinstance(owner, str)
    assert NodeId(owner) == owner

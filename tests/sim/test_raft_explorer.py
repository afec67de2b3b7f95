"""The core in every order of events, in small scopes; and bugs in it that those scopes are wide enough for.

Of a scope that is too wide for all of its states, those within the fewest steps are searched: as many as
`states_max`, more in a long run (SEEDS).
"""

from __future__ import annotations

import copy
from random import Random

import pytest

from fabric.core.raft.config import RaftConfig
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.events import Campaign, Propose, RaftEvent, Received
from fabric.core.raft.leader import Leader
from fabric.core.raft.log import SnapshotMark
from fabric.core.raft.node import RaftNode
from fabric.core.raft.outbox import Outbox
from fabric.core.raft.ready import HardState, Send
from proto.ids import LogIndex, Term, VoterId
from proto.raft import AppendReply, RaftMessage, Vote, VoteReply
from tests.sim.raft_explorer import LATER_MS, Explorer, Scope, ViolationError
from tests.sim.raft_twin import twin, visible
from tests.sim.seeds import deeper

# Figure 8 of the paper with three voters, (b): two leaders left an entry each that nobody else has. One entry
# fits a message, so what a leader found leaves before what its own term writes.
BEFORE_FIGURE_8 = Scope(
    terms_max=4,
    log_max=2,
    logs=((1,), (2,), ()),
    hard_terms=(2, 2, 2),
    append_entries_max=1,
    states_max=deeper(120_000),
)
CRASHES = Scope(terms_max=2, log_max=1, crashes_max=1, states_max=deeper(120_000))
SLOW_DISKS = Scope(terms_max=2, log_max=1, crashes_max=1, are_disks_slow=True, states_max=deeper(100_000))
TWO_TERMS = Scope(terms_max=2, log_max=1)

WHOLE = {
    "one_term_two_entries": (Scope(terms_max=1, log_max=2), 6_000),
    "two_terms": (TWO_TERMS, 200_000),
}
BOUNDED = {
    "one_term_three_entries": (Scope(terms_max=1, log_max=3, states_max=deeper(60_000)), 15),
    "figure_8": (BEFORE_FIGURE_8, 12),
    "crashes": (CRASHES, 9),
    "slow_disks": (SLOW_DISKS, 9),
    "asked_before": (Scope(terms_max=2, log_max=1, asks_before=True, states_max=deeper(60_000)), 9),
}


@pytest.mark.slow
@pytest.mark.parametrize("scope", WHOLE)
def test_in_every_order_of_a_small_scope_nothing_is_violated(scope: str) -> None:
    found = Explorer(WHOLE[scope][0]).explore()
    assert found.is_complete
    assert found.states >= WHOLE[scope][1], "less can happen than before: is something never tried?"


@pytest.mark.slow
@pytest.mark.parametrize("scope", BOUNDED)
def test_within_so_many_steps_nothing_is_violated(scope: str) -> None:
    found = Explorer(BOUNDED[scope][0]).explore()
    assert found.is_complete or found.depth >= BOUNDED[scope][1], found


# ---- is it able to fail?


def commits_by_counting(leader: Leader) -> LogIndex:
    return leader._log.configuration.committed(leader._match)


def votes_twice(node: RaftNode, sender: VoterId, message: Vote) -> None:
    granted = node._log.is_up_to_date(message.last_index, message.last_term)
    if granted:
        node._hard = HardState(node.term, sender)
    node._outbox.send(sender, VoteReply(term=node.term, granted=granted))


def votes_for_any_log(node: RaftNode, sender: VoterId, message: Vote) -> None:
    granted = node._hard.vote in (None, sender) and node._leader_id is None
    if granted:
        node._hard = HardState(node.term, sender)
    node._outbox.send(sender, VoteReply(term=node.term, granted=granted))


def sends_before_it_is_durable(outbox: Outbox, to: VoterId, message: RaftMessage) -> None:
    if isinstance(message, AppendReply | VoteReply):
        outbox.send_early(to, message)
    else:
        outbox._messages.append(Send(to, message))


PLANTED = [
    (Leader, "committable", commits_by_counting, BEFORE_FIGURE_8, "leads term 4 without entry 1 of term 1"),
    (RaftNode, "_on_vote", votes_twice, TWO_TERMS, "term 1 has two leaders"),
    (RaftNode, "_on_vote", votes_for_any_log, TWO_TERMS, "leads term 2 without entry 1"),
    (Outbox, "send", sends_before_it_is_durable, CRASHES, "is committed and on 1 disks"),
    (Outbox, "send", sends_before_it_is_durable, SLOW_DISKS, "entry 1 is committed and on|has two leaders"),
]


@pytest.mark.parametrize(("owner", "name", "bug", "scope", "harm"), PLANTED)
def test_a_planted_bug_is_found_with_a_way_to_it(
    owner: type, name: str, bug: object, scope: Scope, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, bug)
    with pytest.raises(ViolationError, match=harm) as failed:
        Explorer(scope).explore()
    assert "  1. a: it stands\n" in str(failed.value)


# ---- its copies


def test_a_copy_behaves_as_the_original_and_shares_nothing_with_it() -> None:
    rng = Random(1)
    names = [VoterId(name) for name in "abc"]
    mark = SnapshotMark(LogIndex(0), Term(0), Configuration(frozenset(names)))
    nodes = {name: RaftNode(name, RaftConfig(), Random(0), mark=mark, now_ms=0) for name in names}
    under_way: list[tuple[VoterId, RaftEvent]] = []
    for number in range(400):
        if under_way and rng.random() < 0.9:
            to, event = under_way.pop(rng.randrange(len(under_way)))
        else:
            to, event = rng.choice(names), rng.choice((Campaign(), Propose([("k", b"%d" % number)])))
        nodes[to] = original = twin(nodes[to])  # all times are nought, as in its copy
        copied, control = twin(original), copy.deepcopy(original)
        ready = copied.handle(event, LATER_MS)
        assert visible(original) == visible(control), "the copy's event was the original's, too"
        assert ready == original.handle(event, LATER_MS) == control.handle(event, LATER_MS)
        assert visible(copied) == visible(original) == visible(control)
        for send in (*ready.early, *ready.messages):
            under_way.append((send.to, Received(to, send.message)))

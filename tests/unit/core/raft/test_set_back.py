"""A voter whose disk was set back to an older copy: its leader's next heartbeat proves it, and it ends."""

from __future__ import annotations

from copy import deepcopy

import pytest

from fabric.core.raft.errors import PromiseForgottenError
from fabric.core.raft.node import Role
from fabric.core.raft.ready import HardState
from proto.ids import LogIndex, Term, VoterId
from proto.raft import Heartbeat
from tests.fixtures.raft_group import CONFIG, RaftDisk, RaftGroup, entry

BEAT_MS = 2 * CONFIG.heartbeat_ms
B = VoterId("b")


def led_by_a() -> tuple[RaftGroup, RaftDisk]:
    """b has acknowledged three commands, and a copy of its disk has one."""
    group = RaftGroup("a", "b", "c")
    group.elect("a")
    group.propose("a", "one")
    group.deliver()
    copy = deepcopy(group.disks[B])
    group.propose("a", "two", "three")
    group.deliver()
    group.wait(BEAT_MS)
    assert group["b"].commit_index == group["a"].commit_index == copy.last_index + 2
    return group, copy


def test_who_lacks_what_it_acknowledged_ends() -> None:
    group, copy = led_by_a()
    group.disks[B] = copy
    group.start("b")
    with pytest.raises(PromiseForgottenError, match=r"acknowledged entry 4 in term 1.* ends at 2"):
        group.wait(BEAT_MS)


def test_entries_that_were_taken_back_long_ago_are_not_what_was_acknowledged() -> None:
    """The older copy is as long. Without the term of the entry it would commit what another leader took
    back."""
    group = RaftGroup("a", "b", "c", logs={"a": [1, 2, 2], "b": [1, 2, 2], "c": [1, 2, 2]})
    copy = deepcopy(group.disks[B])
    copy.entries = [entry(index, 1, b"of a leader that nobody followed") for index in (1, 2, 3, 4)]
    copy.hard = HardState(Term(1))
    group.elect("a")
    group.wait(BEAT_MS)
    assert group["b"].commit_index == copy.last_index
    group.disks[B] = copy
    group.start("b")
    with pytest.raises(PromiseForgottenError, match=r"acknowledged entry 4 in term 3, and .* ends at 4"):
        group.wait(BEAT_MS)
    assert group["b"].commit_index == 0, "nothing was committed on the way"


def test_an_honest_disk_is_taken_up_again() -> None:
    group, _ = led_by_a()
    group.start("b")
    group.propose("a", "four")
    group.deliver()
    group.wait(BEAT_MS)
    assert group.data("b") == ["one", "two", "three", "four"]


def test_a_leader_of_the_past_proves_nothing() -> None:
    """Its entries may have been taken back since, by a later leader."""
    group, _ = led_by_a()
    group.elect("c")
    late = Heartbeat(term=Term(1), commit_index=LogIndex(99), commit_term=Term(1), round=0)
    group.hear("b", "a", late)
    assert group["b"].leader_id == "c"


def test_who_never_acknowledged_anything_to_this_leader_is_only_behind() -> None:
    """What no leader remembers nobody can prove: it catches up as anybody who is behind."""
    group, copy = led_by_a()
    del group.nodes[B]
    group.wait(3 * CONFIG.election_ms, among=("a",))  # it leads nobody, and ends
    group.elect("c")
    assert group["c"].role is Role.LEADER
    group.disks[B] = copy
    group.start("b")
    group.wait(4 * CONFIG.election_ms)
    assert group.data("b") == ["one", "two", "three"]

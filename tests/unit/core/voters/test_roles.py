"""Who holds a role, and for how long."""

from __future__ import annotations

from fabric.core.voters.leases import TTL_MS, Grant, LeaseTable
from fabric.core.voters.roles import choose_api, choose_scheduler
from proto.ids import Fence, NodeId

NODES = [NodeId(name) for name in "abcdefgh"]
A, B, C = NODES[:3]


def grant(holder: NodeId = A, fence: int = 7) -> Grant:
    return Grant(role="scheduler", holder=holder, fence=Fence(fence))


def test_the_scheduler_is_chosen_elsewhere_than_the_conductor() -> None:
    for conductor in NODES:
        assert choose_scheduler(NODES, conductor, None) != conductor
    assert choose_scheduler([A], A, None) == A
    assert choose_scheduler([], A, None) is None


def test_the_scheduler_stays_with_a_healthy_holder() -> None:
    for current in NODES:
        assert choose_scheduler(NODES, A, current) == current
    assert choose_scheduler([A, B], A, C) == B


def test_everybody_chooses_the_same_and_a_death_moves_only_its_own() -> None:
    chosen = choose_scheduler(NODES, A, None)
    assert choose_scheduler(NODES[::-1], A, None) == chosen
    for dead in NODES:
        if dead != chosen:
            assert choose_scheduler([node for node in NODES if node != dead], A, None) == chosen


def test_all_voters_answer_the_api_and_others_fill_up() -> None:
    assert choose_api([A, B, C], NODES, 2) == {A, B, C}
    chosen = choose_api([A, B, C], NODES, 5)
    assert chosen > {A, B, C}
    assert len(chosen) == 5
    assert choose_api([A, B, C], NODES[::-1], 5) == chosen
    assert choose_api([A], [A, B], 9) == {A, B}


def test_a_lease_that_is_renewed_does_not_end() -> None:
    table = LeaseTable([], 0)
    table.grant(grant(), 0)
    for now_ms in range(0, 10 * TTL_MS, TTL_MS - 1):
        assert table.expired(now_ms) == []
        assert table.renew("scheduler", A, Fence(7), now_ms)


def test_a_lease_that_is_not_renewed_ends_and_cannot_be_renewed() -> None:
    table = LeaseTable([], 0)
    table.grant(grant(), 0)
    assert table.expired(TTL_MS - 1) == []
    assert table.expired(TTL_MS) == [grant()]
    assert not table.renew("scheduler", A, Fence(7), TTL_MS)
    assert table.expired(TTL_MS) == [grant()], "it stays until the log ends it"
    table.end("scheduler", A)
    assert table.expired(TTL_MS) == []


def test_only_the_holder_of_the_newest_grant_renews() -> None:
    table = LeaseTable([], 0)
    table.grant(grant(fence=7), 0)
    table.grant(grant(fence=9), 0)
    table.grant(grant(fence=7), TTL_MS - 1)
    assert not table.renew("scheduler", A, Fence(7), 1)
    assert not table.renew("scheduler", B, Fence(9), 1)
    assert not table.renew("api", A, Fence(9), 1)
    assert table.renew("scheduler", A, Fence(9), 1)
    assert table.expired(TTL_MS) == []


def test_a_new_leader_first_gives_every_grant_one_term_more() -> None:
    found = [grant(B, 3), grant(A, 2)]
    table = LeaseTable(found, 1_000_000)
    assert table.expired(1_000_000 + TTL_MS - 1) == []
    assert table.renew("scheduler", A, Fence(2), 1_000_000 + TTL_MS - 1)
    assert table.expired(1_000_000 + TTL_MS) == [grant(B, 3)]

"""Who holds a role, and for how long."""

from __future__ import annotations

from fabric.core.voters.leases import TTL_MS, Grant, LeaseTable
from fabric.core.voters.roles import choose_scheduler
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


def test_chosen_anew_it_goes_to_another_zone_than_the_conductors() -> None:
    zones = {node: "west" if node in (A, B) else "east" for node in NODES}
    for conductor in NODES:
        chosen = choose_scheduler(NODES, conductor, None, zone_of=zones.__getitem__)
        assert chosen is not None
        assert zones[chosen] != zones[conductor]
    assert choose_scheduler([A, B], A, None, zone_of=zones.__getitem__) == B, "one zone is no reason to stay"


def test_who_is_spared_schedules_only_where_nobody_else_can() -> None:
    for node in (B, C):
        assert choose_scheduler([A, B, C], A, None, spared=[n for n in (B, C) if n != node]) == node
    assert choose_scheduler([A, B], A, None, spared=[B]) == A
    assert choose_scheduler([A, B], A, None, spared=[A, B]) == B


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


def test_how_long_a_lease_lasts_is_that_of_the_newest_grant() -> None:
    table = LeaseTable([grant(A, 7)], 0)
    table.grant(grant(B, 9), 1_000)
    assert table.left_ms("scheduler", 2_000) == (grant(B, 9), TTL_MS - 1_000)
    assert table.left_ms("scheduler", 10 * TTL_MS) == (grant(B, 9), 0)
    assert table.left_ms("api", 0) is None

"""A role as a row: one holder at a time by one clock. The statements are those PostgreSQL gets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, Connection, literal

from fabric.store import role_lease
from fabric.store import tables as t
from fabric.store.held_lease import HeldLease, LeaseAnswer
from proto.ids import NodeId

A, B = NodeId("a" * 32), NodeId("b" * 32)
TTL_MS = 3_000


class Rows:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.now_ms = 1_000_000
        role_lease.make_role(connection, "conductor")
        role_lease.make_role(connection, "conductor")

    @property
    def now(self) -> role_lease.Now:
        return literal(self.now_ms, BigInteger)

    def take(self, node_id: NodeId) -> LeaseAnswer:
        return role_lease.take(self.connection, "conductor", node_id, TTL_MS, self.now)

    def taken(self, node_id: NodeId) -> HeldLease:
        epoch = self.take(node_id).epoch
        assert epoch is not None
        return HeldLease(role="conductor", node_id=node_id, epoch=epoch)

    def renew(self, lease: HeldLease) -> bool:
        return role_lease.renew(self.connection, lease, TTL_MS, self.now)

    def is_held(self, lease: HeldLease) -> bool:
        return role_lease.is_held(self.connection, lease)


@pytest.fixture
def rows() -> Iterator[Rows]:
    engine = sqlalchemy.create_engine("sqlite://")
    t.shared_metadata.create_all(engine)
    with engine.connect() as connection:
        yield Rows(connection)
    engine.dispose()


def test_nobody_takes_what_another_holds(rows: Rows) -> None:
    lease = rows.taken(A)
    rows.now_ms += TTL_MS - 1
    assert rows.take(B) == LeaseAnswer(epoch=None, left_ms=1)
    assert rows.is_held(lease)
    rows.now_ms += 1
    assert rows.taken(B).epoch == lease.epoch + 1
    assert not rows.is_held(lease)


def test_a_clock_that_went_back_keeps_nobody_waiting(rows: Rows) -> None:
    rows.taken(A)
    rows.now_ms -= 1
    assert rows.taken(B).epoch == 2


def test_a_renewed_one_lasts_from_then_on(rows: Rows) -> None:
    lease = rows.taken(A)
    rows.now_ms += TTL_MS - 1
    assert rows.renew(lease)
    rows.now_ms += TTL_MS - 1
    assert rows.take(B).epoch is None


def test_what_another_took_is_not_renewed(rows: Rows) -> None:
    lease = rows.taken(A)
    rows.now_ms += TTL_MS
    newer = rows.taken(B)
    assert not rows.renew(lease)
    assert not role_lease.give_up(rows.connection, lease)
    assert rows.is_held(newer)


def test_a_former_taking_of_the_same_node_is_another(rows: Rows) -> None:
    former = rows.taken(A)
    newer = rows.taken(A)  # its agent was killed and is back
    assert newer.epoch == former.epoch + 1
    assert not rows.is_held(former)
    assert not rows.renew(former)


def test_what_was_given_up_is_free_at_once(rows: Rows) -> None:
    lease = rows.taken(A)
    assert role_lease.give_up(rows.connection, lease)
    assert not rows.is_held(lease)
    assert not rows.renew(lease)
    assert rows.taken(B).epoch == lease.epoch + 1

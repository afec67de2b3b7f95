"""A role as a row with an epoch, on the database's clock (design/log.md, section 5).

A lease says who may take the role now. It gives liveness; what a holder decides is fenced by the index of the
entry that granted it the role, as on the embedded engine. Each function is one statement that compares and
sets, so two that come at once cannot both succeed at any isolation level.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, Connection, cast, extract, func, insert, or_, select, update

from fabric.store import tables as t
from fabric.store.held_lease import HeldLease, LeaseAnswer

Now = ColumnElement[int]  # the time in milliseconds, where it is asked for


def make_role(connection: Connection, role: str) -> None:
    """The row of a role that nobody held yet. Of one process at a time; again is safe."""
    found = select(t.role_leases.c.role).where(t.role_leases.c.role == role)
    if connection.execute(found).first() is None:
        connection.execute(insert(t.role_leases).values(role=role, node_id="", epoch=0, until_ms=0))


def database_now() -> Now:
    return cast(extract("epoch", func.clock_timestamp()) * 1_000, BigInteger)


def take(connection: Connection, role: str, node_id: str, ttl_ms: int, now: Now) -> LeaseAnswer:
    """Takes it where nobody holds it. A node that was started anew takes what its former life held: there is
    one life of a node at a time. A lease that lasts longer than any is given was given by another clock: the
    database's went back, or moved to another machine."""
    free = (t.role_leases.c.until_ms <= now, t.role_leases.c.until_ms > now + ttl_ms)
    lease = t.role_leases.c
    epoch = connection.execute(
        update(t.role_leases)
        .where(lease.role == role, or_(*free, lease.node_id == node_id))
        .values(node_id=node_id, epoch=lease.epoch + 1, until_ms=now + ttl_ms)
        .returning(lease.epoch)
    ).scalar_one_or_none()
    if epoch is not None:
        return LeaseAnswer(epoch=epoch, left_ms=ttl_ms)
    left = connection.execute(select(lease.until_ms - now).where(lease.role == role)).scalar_one()
    return LeaseAnswer(epoch=None, left_ms=max(0, int(left)))


def renew(connection: Connection, lease: HeldLease, ttl_ms: int, now: Now) -> bool:
    """False: another took it."""
    until = {"until_ms": now + ttl_ms}
    return connection.execute(update(t.role_leases).where(*_held(lease)).values(until)).rowcount == 1


def give_up(connection: Connection, lease: HeldLease) -> bool:
    """Anybody may take it at once. False: it was not held any more."""
    free = {"until_ms": 0, "node_id": ""}
    return connection.execute(update(t.role_leases).where(*_held(lease)).values(free)).rowcount == 1


def is_held(connection: Connection, lease: HeldLease) -> bool:
    """Whether nobody took it since."""
    return connection.execute(select(t.role_leases.c.role).where(*_held(lease))).first() is not None


def _held(lease: HeldLease) -> tuple[ColumnElement[bool], ...]:
    row = t.role_leases.c
    return row.role == lease.role, row.node_id == lease.node_id, row.epoch == lease.epoch

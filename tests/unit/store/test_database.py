"""When a transaction is tried again, and what is known of one that failed. SQLite stands in for the server:
what differs between servers is their SQL states, which are given here."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
import sqlalchemy
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError

from fabric.store import database
from fabric.store.database import Trouble, _Attempts, trouble_of
from fabric.store.errors import StoreBusyError, StoreFailedError, StoreStoppedError


class ServerError(Exception):
    def __init__(self, sqlstate: str | None) -> None:
        super().__init__(f"state {sqlstate}")
        self.sqlstate = sqlstate


def error(sqlstate: str | None) -> DBAPIError:
    return DBAPIError("statement", {}, ServerError(sqlstate))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    monkeypatch.setattr(database, "BACKOFF_MS_MAX", 1)
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE done (number INTEGER)"))
    yield engine
    engine.dispose()


def done(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM done")).scalar_one())


def run(
    engine: Engine, work: Callable[[Connection], int | None], *, for_s: float = 60.0
) -> tuple[object, bool]:
    return _Attempts(engine, time.monotonic() + for_s).run(work)


def write(connection: Connection) -> int:
    connection.execute(text("INSERT INTO done VALUES (1)"))
    return 7


def fails_first(*states: str | None) -> Callable[[Connection], int]:
    left = list(states)

    def work(connection: Connection) -> int:
        value = write(connection)
        if left:
            raise error(left.pop(0))
        return value

    return work


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("40001", Trouble.CONFLICT),
        ("40P01", Trouble.CONFLICT),
        ("40003", Trouble.LOST),  # CockroachDB: ambiguous
        ("08006", Trouble.LOST),
        ("57P01", Trouble.LOST),
        ("25P03", Trouble.LOST),  # the server took the turn of one that was idle
        ("53300", Trouble.LOST),
        (None, Trouble.LOST),
        ("42601", Trouble.REFUSED),
        ("53100", Trouble.REFUSED),
    ],
)
def test_what_a_state_means(sqlstate: str | None, expected: Trouble) -> None:
    assert trouble_of(error(sqlstate)) is expected


def test_conflicts_are_tried_again_from_the_start(engine: Engine) -> None:
    assert run(engine, fails_first("40001", "40P01", "40001")) == (7, False)
    assert done(engine) == 1, "what the failed attempts wrote is undone"


def test_conflicts_without_end_are_given_up_as_not_done(engine: Engine) -> None:
    with pytest.raises(StoreBusyError):
        run(engine, fails_first(*["40001"] * database.ATTEMPTS_MAX))
    assert done(engine) == 0


def test_lost_before_its_commit_it_is_known_not_to_be_done(engine: Engine) -> None:
    assert run(engine, fails_first("57P01", None)) == (7, False)
    with pytest.raises(StoreStoppedError):
        run(engine, fails_first("57P01"), for_s=-1.0)


def test_ambiguous_it_is_in_doubt_whichever_statement_was_told(engine: Engine) -> None:
    assert run(engine, fails_first("40003")) == (7, True)
    with pytest.raises(StoreFailedError):
        run(engine, fails_first("40003"), for_s=-1.0)


@pytest.fixture
def lost_commit(engine: Engine) -> list[str | None]:
    """The states that the next COMMITs fail with, though they were done."""
    states: list[str | None] = []

    @event.listens_for(engine, "commit")
    def lose(connection: Connection) -> None:
        if states:
            connection.connection.driver_connection.commit()  # type: ignore[union-attr]
            raise error(states.pop(0))

    return states


def test_lost_at_its_commit_it_is_in_doubt(engine: Engine, lost_commit: list[str | None]) -> None:
    lost_commit.append("08006")
    assert run(engine, write) == (7, True)
    assert done(engine) == 2, "whoever asks has to look by its request whether it was done"
    lost_commit.append(None)
    with pytest.raises(StoreFailedError):
        run(engine, write, for_s=-1.0)


def test_a_conflict_told_at_commit_is_tried_again_without_doubt(
    engine: Engine, lost_commit: list[str | None]
) -> None:
    lost_commit.append("40001")
    assert run(engine, write)[1] is False


def test_once_in_doubt_a_later_failure_does_not_make_it_undone(
    engine: Engine, lost_commit: list[str | None]
) -> None:
    lost_commit.append("08006")
    later = fails_first("42601")
    attempts = 0

    def work(connection: Connection) -> int:
        nonlocal attempts
        attempts += 1
        return write(connection) if attempts == 1 else later(connection)

    with pytest.raises(StoreFailedError):
        run(engine, work)


def test_nothing_is_kept_of_what_gives_none(engine: Engine) -> None:
    def nothing(connection: Connection) -> None:
        write(connection)

    assert run(engine, nothing) == (None, False)
    assert done(engine) == 0


def test_what_would_be_refused_again_is_not_tried_again(engine: Engine) -> None:
    with pytest.raises(StoreStoppedError):
        run(engine, fails_first("42601"))
    assert done(engine) == 0

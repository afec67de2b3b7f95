"""Which errors a disk is not trusted after."""

from __future__ import annotations

import errno

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.store.disk_trust import can_learn_anew, may_have_lost
from fabric.store.errors import LogCorruptError, LogFailedError
from proto.ids import VoterId


def log_failed(number: int) -> LogFailedError:
    error = LogFailedError("writing the log failed")
    error.__cause__ = OSError(number, "no")
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (log_failed(errno.EIO), True),
        (log_failed(errno.ENOSPC), False),
        (OSError(errno.EIO, "a snapshot's file"), False),
        (LogCorruptError("a record is damaged"), True),
        (PromiseForgottenError("it was set back"), True),
        (ValueError("a bug"), False),
    ],
)
def test_only_the_logs_own_failure_may_have_lost_a_promise(error: BaseException, expected: bool) -> None:
    assert may_have_lost(error) is expected


def test_who_is_alone_keeps_its_name() -> None:
    a, b = VoterId("a"), VoterId("b")
    alone = Configuration(frozenset({a}))
    assert not can_learn_anew(a, alone)
    assert can_learn_anew(b, Configuration(frozenset({a}), learners=frozenset({b}))), "a standby has one"
    assert can_learn_anew(a, Configuration(frozenset({a}), outgoing=frozenset({a, b})))
    assert not can_learn_anew(b, Configuration()), "it has nothing yet, and nobody to get it from"

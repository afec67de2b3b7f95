"""Whose disk votes no more under its name, wherever the voter lived."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.runtime.digest_watch import RowsDifferError
from fabric.runtime.voter_fate import disown_if_damaged, disown_if_lost
from fabric.store.errors import LogCorruptError, LogFailedError
from fabric.store.voter_id import known_voter_id, voter_here
from proto.ids import VoterId
from tests.fixtures.store_world import NODE

OTHER = VoterId(f"{'b' * 32}.00000000")


def log_failed(number: int) -> LogFailedError:
    error = LogFailedError("writing the log failed")
    error.__cause__ = OSError(number, "no")
    return error


@pytest.mark.parametrize(
    ("error", "is_lost"),
    [
        (log_failed(errno.EIO), True),
        (log_failed(errno.ENOSPC), False),
        (PromiseForgottenError("it was set back"), True),
        (RowsDifferError("they differ"), True),
        (ValueError("a bug"), False),
    ],
)
def test_it_keeps_its_name_unless_it_may_have_lost_what_others_have(
    tmp_path: Path, error: BaseException, is_lost: bool
) -> None:
    me = voter_here(tmp_path, NODE)
    disown_if_lost(tmp_path, error, me, Configuration(frozenset({me})))
    assert known_voter_id(tmp_path) == me, "who is alone has nobody to learn from"
    disown_if_lost(tmp_path, error, me, Configuration(frozenset({me, OTHER})))
    assert known_voter_id(tmp_path) == (None if is_lost else me)


@pytest.mark.parametrize("others_vote", [True, False])
def test_a_damaged_disk_votes_no_more_where_others_do(tmp_path: Path, others_vote: bool) -> None:
    me = voter_here(tmp_path, NODE)
    disown_if_damaged(tmp_path, LogCorruptError("it is damaged"), others_vote=others_vote)
    assert known_voter_id(tmp_path) == (None if others_vote else me)

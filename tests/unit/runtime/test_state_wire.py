"""Answers about the log cross the wire unchanged, and nonsense is named."""

from __future__ import annotations

import pytest

from fabric.core.queries import Applied
from fabric.errors import RemoteError
from fabric.runtime.state_wire import applied_from_plain, applied_to_plain, index_from_plain, rejection_of
from proto.codec import Plain, pack, unpack
from proto.errors import WireError
from proto.ids import LogIndex


@pytest.mark.parametrize("replayed", [False, True])
def test_an_applied_command_is_the_same_on_the_other_side(replayed: bool) -> None:
    applied = Applied(LogIndex(7), {"fence": 7, "names": ["a"]}, replayed)
    assert applied_from_plain(unpack(pack(applied_to_plain(applied)))) == applied


@pytest.mark.parametrize(
    "answer",
    [None, 5, "x", [], {}, {"index": 1}, {"result": {}}, {"index": -1, "result": {}}]
    + [{"index": wrong, "result": {}} for wrong in (True, "1", None, 1.0)]
    + [{"index": 1, "result": wrong} for wrong in (None, 1, [])],
)
def test_what_is_no_answer_is_refused(answer: Plain) -> None:
    with pytest.raises(WireError, match="bad_field"):
        applied_from_plain(answer)


@pytest.mark.parametrize("answer", [None, {}, {"index": "1"}, {"index": -1}, {"index": True}])
def test_what_is_no_index_is_refused(answer: Plain) -> None:
    with pytest.raises(WireError, match="index"):
        index_from_plain(answer)
    assert index_from_plain({"index": 0}) == 0


def test_only_a_rejection_is_one() -> None:
    rejected = rejection_of(RemoteError("fabric.rejected:quota", "too many"))
    assert rejected is not None
    assert (rejected.reason, rejected.message) == ("quota", "too many")
    for code in ("fabric.raft.not_leader", "fabric.rejected", ""):
        assert rejection_of(RemoteError(code, "x")) is None

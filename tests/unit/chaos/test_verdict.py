"""The chaos suite's judge, on histories that are known to be good or bad."""

from __future__ import annotations

from math import inf
from typing import Any

from tests.chaos.clients import Heard
from tests.chaos.names import CONFLICT, CREATED, DELETED, NOT_FOUND, Create, Delete
from tests.chaos.verdict import NamesJudged, judge_names
from tests.sim.linearizability import UNKNOWN, Operation, Verdict

END = 100.0


def answered(called: float, returned: float, asked: Create | Delete, output: str, *, index: int = 0) -> Heard:
    return Heard(Operation("client", called, returned, asked, output), index)


def unanswered(called: float, asked: Create | Delete) -> Heard:
    return Heard(Operation("client", called, inf, asked, UNKNOWN), 0)


def judged(*heard: Heard, there: set[str], **options: Any) -> NamesJudged:
    return judge_names(heard, there, END, **options)


def test_what_was_acknowledged_is_there() -> None:
    found = judged(answered(1, 2, Create("a"), CREATED), answered(3, 4, Create("a"), CONFLICT), there={"a"})
    assert found.finding.verdict is Verdict.LINEARIZABLE
    assert found.wrong == ()


def test_a_lost_write_is_told_in_words_and_by_the_checker() -> None:
    found = judged(answered(1, 2, Create("a"), CREATED), there=set())
    assert found.finding.verdict is Verdict.NOT_LINEARIZABLE
    assert len(found.wrong) == 1
    assert "a is not there" in found.wrong[0]


def test_a_deleted_name_that_is_back_is_lost_too() -> None:
    history = (answered(1, 2, Create("a"), CREATED), answered(3, 4, Delete("a"), DELETED))
    assert judged(*history, there={"a"}).wrong
    assert not judged(*history, there=set()).wrong


def test_the_end_counts_where_the_last_calls_overlap() -> None:
    """The words know nothing of it, the checker does: both calls created nothing."""
    overlapping = (
        answered(1, 2, Create("a"), CREATED),
        answered(3, 6, Create("a"), CONFLICT),
        answered(4, 5, Create("a"), CONFLICT),
    )
    assert judged(*overlapping, there=set()).finding.verdict is Verdict.NOT_LINEARIZABLE
    assert judged(*overlapping, there={"a"}).finding.verdict is Verdict.LINEARIZABLE


def test_what_nobody_answered_may_be_done_or_not() -> None:
    for there in (set[str](), {"a"}):
        found = judged(unanswered(1, Create("a")), there=there)
        assert found.finding.verdict is Verdict.LINEARIZABLE
        assert found.wrong == ()


def test_a_stale_answer_is_not_linearizable() -> None:
    found = judged(answered(1, 2, Create("a"), CREATED), answered(3, 4, Delete("a"), NOT_FOUND), there={"a"})
    assert found.finding.verdict is Verdict.NOT_LINEARIZABLE


def test_an_operator_gives_up_only_what_came_after_the_last_entry_that_was_kept() -> None:
    history = (answered(1, 2, Create("a"), CREATED, index=7), answered(3, 4, Create("b"), CREATED, index=8))
    given_up = judged(*history, there={"a"}, kept=7)
    assert given_up.finding.verdict is Verdict.LINEARIZABLE
    assert given_up.wrong == ()
    assert given_up.lost_by_leave == 1
    assert judged(*history, there={"b"}, kept=7).wrong, "a was answered from entry 7, which was kept"

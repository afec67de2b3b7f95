"""Who is wrong when rows differ."""

from __future__ import annotations

import pytest

from fabric.core.voters.digests import Judgement, judge
from proto.ids import VoterId

A, B = b"a" * 32, b"b" * 32


@pytest.mark.parametrize(
    ("others", "voters", "judgement"),
    [
        ([A], 3, Judgement.AGREES),
        ([A, A], 3, Judgement.AGREES),
        ([A, B], 3, Judgement.AGREES),  # with it a majority
        ([B, B], 3, Judgement.DIFFERS),
        ([B], 3, Judgement.OPEN),  # one against one: the third may say
        ([], 3, Judgement.OPEN),
        ([B, B], 5, Judgement.OPEN),  # two of five are no majority
        ([B, B, B], 5, Judgement.DIFFERS),
        ([A, A, B, B], 5, Judgement.AGREES),
        ([B], 2, Judgement.OPEN),  # of two nobody can tell
        ([], 1, Judgement.AGREES),
    ],
)
def test_who_is_alone_against_a_majority_of_all_is_wrong(
    others: list[bytes], voters: int, judgement: Judgement
) -> None:
    heard = {VoterId(f"v{number}"): digest for number, digest in enumerate(others)}
    assert judge(A, heard, voters) is judgement

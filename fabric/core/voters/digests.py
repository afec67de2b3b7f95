"""Which voter is wrong when the digests of their rows differ: who is alone against a majority of them all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import Enum, auto

from proto.ids import VoterId


class Judgement(Enum):
    AGREES = auto()  # a majority of the voters holds what this one holds
    DIFFERS = auto()  # a majority holds something else, and all of it the same
    OPEN = auto()  # too few are known, or no majority agrees


def judge(own: bytes, others: Mapping[VoterId, bytes], voters: int) -> Judgement:
    """`others`: what was heard of the other voters, of `voters` in all."""
    counted = Counter(others.values())
    counted[own] += 1
    digest, count = max(counted.items(), key=lambda item: item[1])
    if count <= voters // 2:
        return Judgement.OPEN
    return Judgement.AGREES if digest == own else Judgement.DIFFERS

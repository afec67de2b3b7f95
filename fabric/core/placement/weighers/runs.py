"""A policy's weighers in runs: those whose figures stand side by side in the table are looked at together. A
call of numpy costs 1 us, however few the hosts are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fabric.core.placement.host_table import Floats
from fabric.core.placement.weighers.columns import ColumnWeigher
from fabric.core.placement.weighers.contract import HostWeigher

Weighted = tuple[HostWeigher, float]  # a weigher, and its multiplier


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """`rows`: of the table's figures, one a weigher. None: of one weigher, which has its own column."""

    weighers: tuple[Weighted, ...]
    rows: slice | None = None


@dataclass(frozen=True, slots=True)
class Stack:
    """What is the same for all requests that the same runs have a say on: of rows, one a weigher.
    `ends`: their `minval`, `maxval`. A multiplier of -1 is a sign, which costs nothing. `factors`: (row,
    multiplier) of those that are neither this nor 1, as numbers of numpy's own, which it takes sooner."""

    weighers: tuple[Weighted, ...]
    settings: frozenset[str]
    ones: tuple[float, ...]
    signs: tuple[float, ...]
    factors: tuple[tuple[int, Floats], ...]
    ends: tuple[tuple[float | None, float | None], ...]


def runs_of(weighers: Sequence[Weighted]) -> tuple[Run, ...]:
    """In their order, in which the weights are added up, too: the last bits of a sum hang on it."""
    return tuple(_runs_of(weighers))


def _runs_of(weighers: Sequence[Weighted]) -> Iterator[Run]:
    side_by_side: list[Weighted] = []
    end = 0
    for each in weighers:
        row = each[0].row if isinstance(each[0], ColumnWeigher) else None
        if side_by_side and row != end:
            yield Run(tuple(side_by_side), slice(end - len(side_by_side), end))
            side_by_side = []
        if row is None:
            yield Run((each,))
        else:
            side_by_side.append(each)
            end = row + 1
    if side_by_side:
        yield Run(tuple(side_by_side), slice(end - len(side_by_side), end))


def stack_of(runs: Sequence[Run]) -> Stack:
    weighers = tuple(each for run in runs for each in run.weighers)
    return Stack(
        weighers=weighers,
        settings=frozenset(weigher.setting for weigher, _ in weighers),
        ones=(1.0,) * len(weighers),
        signs=tuple(-1.0 if multiplier == -1 else 1.0 for _, multiplier in weighers),
        factors=tuple(
            (row, np.array(multiplier, dtype=np.float64))
            for row, (_, multiplier) in enumerate(weighers)
            if abs(multiplier) != 1
        ),
        ends=tuple((weigher.minval, weigher.maxval) for weigher, _ in weighers),
    )

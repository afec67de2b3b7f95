"""How good hosts are for a server: the weighers' numbers, stretched, multiplied and added up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from fabric.core.placement.host_table import Column, Floats, HostTable, Ints
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.weighers.runs import Run, Stack, stack_of

Places = Ints  # of hosts, ascending


def weigh(request: PlacementRequest, table: HostTable, policy: Policy, places: Places) -> Floats:
    """The summed weight of each of these hosts. Each weigher's numbers are stretched to 0..1, so that
    megabytes do not drown processors: from the weigher's own least and to its own most where it has them,
    else from and to these hosts'. Source: Nova's `weights.py`."""
    if len(places) < 2:
        return np.zeros(len(places), dtype=np.float64)
    rows, stack = _rows(request, table, policy, places)
    if not len(rows):
        return np.zeros(len(places), dtype=np.float64)
    if table.has_any_key(stack.settings):
        _stretch(rows, stack, stack.ones)
        for row, (weigher, multiplier) in zip(rows, stack.weighers, strict=True):
            factor = multipliers(table, weigher.setting, multiplier)
            row *= factor if isinstance(factor, float) else factor.take(places)
    else:
        _stretch(rows, stack, stack.signs)
        for at, factor in stack.factors:
            row = rows[at]
            row *= factor
    total: Floats = np.add.reduce(rows, axis=0, initial=0.0)
    return total


def _rows(
    request: PlacementRequest, table: HostTable, policy: Policy, places: Places
) -> tuple[Floats, Stack]:
    """Of each weigher that has a say, its numbers of these hosts."""
    runs: list[Run] = []
    columns: list[Column] = []
    for run in policy.runs:
        side_by_side = run.rows
        column: Column | None = (
            run.weighers[0][0].column(request, table) if side_by_side is None else table.figures[side_by_side]
        )
        if column is not None:
            runs.append(run)
            columns.append(column)
    stack = _stack(tuple(runs))
    rows: Floats = np.empty((len(stack.weighers), len(places)), dtype=np.float64)
    is_all = len(places) == len(table)
    at = 0
    for run, column in zip(runs, columns, strict=True):
        end = at + len(run.weighers)
        if is_all:
            rows[at:end] = column
        elif run.rows is None:
            rows[at] = column[places]
        else:  # no place is outside, so that nothing is clipped; told so, numpy writes where it is to
            column.take(places, axis=1, out=rows[at:end], mode="clip")
        at = end
    return rows, stack


@lru_cache(maxsize=256)
def _stack(runs: tuple[Run, ...]) -> Stack:
    return stack_of(runs)


def _stretch(rows: Floats, stack: Stack, signs: Sequence[float]) -> None:
    """Each row to 0..1, or to 0..-1, in place. Where there is nothing between the ends, 0 is all that is
    left."""
    lows: list[float] = np.minimum.reduce(rows, axis=1).tolist()
    highs: list[float] = np.maximum.reduce(rows, axis=1).tolist()
    spans: list[float] = []
    for row, (low, high, (least, most), sign) in enumerate(zip(lows, highs, stack.ends, signs, strict=True)):
        if least is not None:
            if low < least:
                np.maximum(rows[row], least, out=rows[row])
            low, high = least, (high if high > least else least)
        if most is not None:
            if high > most:
                np.minimum(rows[row], most, out=rows[row])
            high = most
        if low:  # few do not begin at 0
            np.subtract(rows[row], low, out=rows[row])
        spans.append(sign * (high - low or 1.0))
    rows /= np.array(spans, dtype=np.float64)[:, np.newaxis]


def multipliers(table: HostTable, setting: str, default: float) -> float | Floats:
    """Of all hosts, or of each: an aggregate may have another one in its metadata, of several the least."""
    if not table.with_key(setting):
        return default
    return table.of_aggregates((setting, default), lambda: _multipliers(table, setting, default))


def _multipliers(table: HostTable, setting: str, default: float) -> float | Floats:
    saying = [
        (each, value)
        for each in table.with_key(setting)
        if (value := _number(each.metadata[setting])) is not None
    ]
    if not saying:
        return default
    least: Floats = np.full(len(table), np.inf, dtype=np.float64)
    for aggregate, value in saying:
        np.minimum(least, value, out=least, where=table.members(aggregate))
    return np.where(np.isinf(least), default, least)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None

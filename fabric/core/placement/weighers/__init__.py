"""Weighers under Nova's names. Each gives a number; `weigh` normalises and adds them up."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fabric.core.placement.host_table import HostView
from fabric.core.placement.weighers.cpu import cpu_weigher
from fabric.core.placement.weighers.ram import ram_weigher

__all__ = ["WEIGHERS", "Weigher", "weigh"]

Weigher = Callable[[HostView], int]
WEIGHERS: tuple[Weigher, ...] = (ram_weigher, cpu_weigher)
SCALE = 1_000_000  # whole numbers: sums compare alike on every machine


def weigh(views: Sequence[HostView], weighers: Sequence[Weigher] = WEIGHERS) -> list[int]:
    """The summed weight of each view, in its order. Each weigher's values are stretched to 0..SCALE over
    the candidates, so megabytes do not drown vCPUs; all equal counts as 0. Source: Nova's `weights.py`."""
    totals = [0] * len(views)
    for weigher in weighers:
        raw = [weigher(view) for view in views]
        low, high = min(raw, default=0), max(raw, default=0)
        if low == high:
            continue
        for i, value in enumerate(raw):
            totals[i] += (value - low) * SCALE // (high - low)
    return totals

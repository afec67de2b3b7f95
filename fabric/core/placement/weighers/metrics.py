"""MetricsWeigher: the sum of what hosts measure, each times its ratio (`metric_weights`). A host that does
not say one of them counts as if it had the worst value (Nova refuses it, unless told otherwise)."""

from __future__ import annotations

import numpy as np

from fabric.core.placement.host_table import Floats, HostTable
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings


class MetricsWeigher:
    name = "MetricsWeigher"
    setting = "metrics_weight_multiplier"
    multiplier = 1.0
    minval: float | None = None
    maxval: float | None = None

    def __init__(self, settings: PlacementSettings) -> None:
        self._ratios = dict(sorted(settings.metric_weights.items()))

    def column(self, request: PlacementRequest, table: HostTable) -> Floats | None:
        if not self._ratios:
            return None
        total: Floats = np.zeros(len(table), dtype=np.float64)
        for metric, ratio in self._ratios.items():
            said = _said(table, metric)
            if np.isnan(said).all():
                continue
            worst = np.nanmin(said * ratio)
            total += np.where(np.isnan(said), worst, said * ratio)
        return total


def _said(table: HostTable, metric: str) -> Floats:
    return table.column(("metric", metric), lambda facts: facts.metrics.get(metric, float("nan")), float)

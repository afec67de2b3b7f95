"""MetricsWeigher: the sum of what hosts measure, each times its ratio (`metric_weights`). A host that does
not say one of them weighs `metrics_weight_of_unavailable`; MetricsFilter refuses it, unless it is left out or
metrics are not required."""

from __future__ import annotations

import numpy as np

from fabric.core.placement.host_table import Floats, HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings


class MetricsWeigher:
    name = "MetricsWeigher"
    setting = "metrics_weight_multiplier"
    multiplier = 1.0
    minval: float | None = None
    maxval: float | None = None

    def __init__(self, settings: PlacementSettings) -> None:
        self._ratios = {name: ratio for name, ratio in sorted(settings.metric_weights.items()) if ratio}
        self._unavailable = settings.metrics_weight_of_unavailable

    def column(self, request: PlacementRequest, table: HostTable) -> Floats | None:
        if not self._ratios:
            return None
        total: Floats = np.zeros(len(table), dtype=np.float64)
        for metric, ratio in self._ratios.items():
            total += _said(table, metric) * ratio
        unavailable: Mask = np.isnan(total)
        total[unavailable] = self._unavailable
        return total


def _said(table: HostTable, metric: str) -> Floats:
    """NaN where nothing is said."""
    return table.column(("metric", metric), lambda facts: facts.metrics.get(metric, float("nan")), float)

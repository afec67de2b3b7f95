"""MetricsFilter: a host that does not say what MetricsWeigher weighs by takes nothing, while the operator
requires it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fabric.core.placement.changes import Change, other_host
from fabric.core.placement.filters.contract import Refusal
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.settings import PlacementSettings


class MetricsFilter:
    name = "MetricsFilter"

    def __init__(self, settings: PlacementSettings) -> None:
        self._names = tuple(sorted(settings.metric_weights)) if settings.metrics_required else ()

    def applies(self, request: PlacementRequest, table: HostTable) -> bool:
        return bool(self._names)

    def passes(self, request: PlacementRequest, table: HostTable) -> Mask:
        return table.mask(("says", self._names), lambda facts: not self._missing(facts))

    def refusal(self, request: PlacementRequest, table: HostTable, place: int) -> Refusal:
        names = ", ".join(self._missing(table.hosts[place]))
        return Refusal(filter_name=self.name, reason="metrics not said", remark=f"does not say {names}")

    def cures(self, request: PlacementRequest, table: HostTable, place: int) -> Iterable[Change]:
        facts = table.hosts[place]
        missing = self._missing(facts)

        def saying(now: HostFacts) -> HostFacts:
            return replace(now, metrics=dict.fromkeys(missing, 0.0) | {**now.metrics})

        text = f"{facts.host.name} said {' and '.join(missing)}"
        yield other_host(text, facts, list(missing), saying)

    def _missing(self, facts: HostFacts) -> tuple[str, ...]:
        return tuple(name for name in self._names if name not in facts.metrics)

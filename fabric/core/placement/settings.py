"""What an operator may set about placement. Names and defaults are Nova's where it has them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proto.ids import ImageId


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementSettings:
    """`multipliers`: by weigher; those not named have their own default. 0 switches one off."""

    driver: str = "filter"
    filters: tuple[str, ...] = ()  # empty: the default ones
    multipliers: Mapping[str, float] = field(default_factory=dict)
    max_io_ops_per_host: int = 8
    max_instances_per_host: int = 50
    isolated_hosts: frozenset[str] = frozenset()  # names
    isolated_images: frozenset[ImageId] = frozenset()
    restrict_isolated_hosts_to_isolated_images: bool = True
    metric_weights: Mapping[str, float] = field(default_factory=dict)  # metric -> ratio
    metrics_required: bool = True  # Nova's [metrics] required
    metrics_weight_of_unavailable: float = -10_000.0  # Nova's [metrics] weight_of_unavailable

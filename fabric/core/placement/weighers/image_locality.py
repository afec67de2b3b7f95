"""ImageLocalityWeigher: a host that holds the image boots it without fetching it. Ours: Nova has none."""

from __future__ import annotations

from fabric.core.placement.host_table import HostTable, Ints
from fabric.core.placement.request import PlacementRequest


class ImageLocalityWeigher:
    name = "ImageLocalityWeigher"
    setting = "image_locality_weight_multiplier"
    multiplier = 0.5  # worth a detour, not worth filling a host: a copy costs seconds, once
    minval: float | None = None
    maxval: float | None = None

    def column(self, request: PlacementRequest, table: HostTable) -> Ints | None:
        if not request.image_id:
            return None
        image_id = request.image_id
        held = table.mask(("holds", image_id), lambda facts: image_id in facts.images)
        return held.astype("int64") if held.any() else None

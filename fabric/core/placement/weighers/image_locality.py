"""ImageLocalityWeigher: a host that holds the image, or has it in its cache, boots it without fetching it.
Ours: Nova has none."""

from __future__ import annotations

import numpy as np

from fabric.core.placement.host_table import HostTable, Mask
from fabric.core.placement.host_word import is_among, short_address
from fabric.core.placement.request import PlacementRequest


class ImageLocalityWeigher:
    name = "ImageLocalityWeigher"
    setting = "image_locality_weight_multiplier"
    # Less than one small server makes among hosts of ordinary size: a copy costs seconds, once, and servers
    # of one image must not gather where the first one was.
    multiplier = 0.01
    minval: float | None = None
    maxval: float | None = None

    def column(self, request: PlacementRequest, table: HostTable) -> Mask | None:
        if not request.image_id:
            return None
        image_id, short = request.image_id, short_address(request.image_sha256)
        held = table.mask(
            ("holds", image_id, short),
            lambda facts: image_id in facts.images or is_among(facts.cached, short),
        )
        return held if np.count_nonzero(held) else None

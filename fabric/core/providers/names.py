"""Names of resource classes and traits. Source: Placement's schemas for both."""

from __future__ import annotations

import re

NAME_CHARS_MAX = 255
CUSTOM_PATTERN = r"^CUSTOM_[A-Z0-9_]+$"
_CUSTOM = re.compile(r"CUSTOM_[A-Z0-9_]+")
SHARES = "MISC_SHARES_VIA_AGGREGATE"  # of a provider: it gives to all whose aggregates it shares
COMPUTE_NODE = "COMPUTE_NODE"
DISABLED = "COMPUTE_STATUS_DISABLED"


def is_custom(name: str) -> bool:
    return len(name) <= NAME_CHARS_MAX and _CUSTOM.fullmatch(name) is not None

"""Extra specs that name a class or a trait and say nothing of it that is understood. Such a one counts for
nothing, as in Nova; whoever asks why is to hear so."""

from __future__ import annotations

import re
from collections.abc import Mapping

from fabric.core.placement.resources import amount_of

_NAMED = re.compile(r"(?P<what>resources|trait)[A-Za-z0-9_-]{0,64}:[A-Z0-9_]{1,255}")


def unread_values(extra_specs: Mapping[str, str]) -> tuple[str, ...]:
    """As "trait:CUSTOM_Z=requird". Names that nothing can have are no matter of this."""
    found = []
    for key, value in sorted(extra_specs.items()):
        named = _NAMED.fullmatch(key)
        if named is None:
            continue
        is_read = amount_of(value) is not None if named["what"] == "resources" else _is_wish(value)
        if not is_read:
            found.append(f"{key}={value}")
    return tuple(found)


def _is_wish(value: str) -> bool:
    return value in ("required", "forbidden")

"""Sets of a machine's processors as operators and flavors write them. Source: Nova's `cpu_dedicated_set`."""

from __future__ import annotations

import re
from collections.abc import Iterable

CPU_MAX = 4_095  # the kernel's own limit is 8,192; no machine of today has half of it

_PART = re.compile(r"(\^?)\s*([0-9]{1,4})(?:\s*-\s*([0-9]{1,4}))?")


def parse_cpu_set(text: str) -> frozenset[int]:
    """ "4-12,^8,15": numbers and ranges with commas between; a caret takes a number or range out of what the
    others name, wherever it stands. Empty parts are passed over.

    Raises ValueError naming the part that is wrong.
    """
    named: set[int] = set()
    taken_out: set[int] = set()
    for part in filter(None, map(str.strip, text.split(","))):
        found = _PART.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} is no processor's number and no range such as 2-5 or ^3")
        low, high = int(found[2]), int(found[3] or found[2])
        if low > high:
            raise ValueError(f"{part!r} begins above its end; write {high}-{low}")
        if high > CPU_MAX:
            raise ValueError(f"{part!r} is above {CPU_MAX}, the highest number a processor can have here")
        (taken_out if found[1] else named).update(range(low, high + 1))
    return frozenset(named - taken_out)


def format_cpu_set(cpus: Iterable[int]) -> str:
    """ "0-2,5", for people."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and runs[-1][1] == cpu - 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)

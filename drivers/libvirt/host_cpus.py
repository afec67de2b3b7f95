"""What the kernel says of this machine's processors."""

from __future__ import annotations

from pathlib import Path

ONLINE = Path("/sys/devices/system/cpu/online")
SMT_ACTIVE = Path("/sys/devices/system/cpu/smt/active")


def online_cpus() -> frozenset[int]:
    """Raises OSError; ValueError for what no kernel says."""
    found: set[int] = set()
    for part in ONLINE.read_text().strip().split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)


def has_sibling_threads() -> bool:
    """Whether cores have several threads, and those are in use. False where the kernel does not say."""
    try:
        return SMT_ACTIVE.read_text().strip() == "1"
    except OSError:
        return False

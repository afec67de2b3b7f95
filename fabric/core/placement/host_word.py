"""What a host says of itself to whoever schedules, beside the numbers of its load: in `extra` of what it
gossips, as texts. Each is short, for all of them go to every node whenever one changes; and what is not
readable, or more than anybody says, counts as not said. None of it is signed: it may steer where servers go,
never whether there is room for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FAILED_BUILDS = "failed_builds"
FAILED_BUILDS_MAX = 999  # more are not told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWord:
    """`failed_builds`: in a row, lately; Nova's name for it."""

    failed_builds: int = 0


NOTHING_SAID = HostWord()


def write_word(word: HostWord) -> dict[str, str]:
    """What there is nothing to say of is left out."""
    said = {}
    if word.failed_builds:
        said[FAILED_BUILDS] = str(min(word.failed_builds, FAILED_BUILDS_MAX))
    return said


def read_word(extra: Mapping[str, str]) -> HostWord:
    if not extra:
        return NOTHING_SAID
    return HostWord(failed_builds=_number(extra.get(FAILED_BUILDS, ""), FAILED_BUILDS_MAX))


def _number(text: str, most: int) -> int:
    """0 for what is none that is said."""
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most))):
        return 0
    return int(text)

"""Compute microversions: what a client asked for. Source: Nova's API guide, "Microversions"."""

from __future__ import annotations

from typing import NamedTuple


class Microversion(NamedTuple):
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MIN = Microversion(2, 1)
MAX = Microversion(2, 96)  # FEATURES E5: the first release claims 2.1 to 2.96

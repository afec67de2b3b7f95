"""The microversions at which something here changes."""

from __future__ import annotations

from fabric.api.microversion import Microversion


def v(minor: int) -> Microversion:
    """`v(26)` is 1.26. There is only one major version."""
    return Microversion(1, minor)

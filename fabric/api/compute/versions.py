"""The microversions at which something here changes, by what they change."""

from __future__ import annotations

from fabric.api.microversion import Microversion


def v(minor: int) -> Microversion:
    """`v(26)` is 2.26. There is only one major version."""
    return Microversion(2, minor)

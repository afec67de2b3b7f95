"""Compute microversions: what a client asked for. Source: Nova's API guide, "Microversions".

Two request headers carry it: `OpenStack-API-Version: compute 2.50, volume 3.1` (a list over services,
may come several times, wins) and the older `X-OpenStack-Nova-API-Version: 2.50`. `latest` means MAX;
nothing means MIN. Every answer of a known route names the version used in both headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Microversion(NamedTuple):
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MIN = Microversion(2, 1)
MAX = Microversion(2, 96)  # FEATURES E5: the first release claims 2.1 to 2.96

SERVICE = "compute"
HEADER = "OpenStack-API-Version"
LEGACY_HEADER = "X-OpenStack-Nova-API-Version"
VARY = f"{HEADER}, {LEGACY_HEADER}"

_FORM = re.compile(r"([1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_SHOWN_CHARS_MAX = 64


class MicroversionMalformedError(ValueError):
    """400. The text is for the user."""


class MicroversionUnsupportedError(ValueError):
    """406. The text is for the user."""


def negotiate(headers: Iterable[str], legacy: str | None) -> Microversion:
    """The version a request wants. `headers`: every `OpenStack-API-Version` value; `legacy`: the older one.

    Raises: MicroversionMalformedError, MicroversionUnsupportedError.
    """
    wanted = _from_service_list(headers)
    if wanted is None:
        wanted = legacy
    return MIN if wanted is None else parse(wanted.strip())


def parse(text: str) -> Microversion:
    """Raises: MicroversionMalformedError, MicroversionUnsupportedError."""
    if text.lower() == "latest":
        return MAX
    match = _FORM.fullmatch(text)
    if match is None:
        shown = text[:_SHOWN_CHARS_MAX]
        raise MicroversionMalformedError(
            f"API Version String {shown} is of invalid format. Must be of format MajorNum.MinorNum."
        )
    version = Microversion(int(match[1]), int(match[2]))
    if not MIN <= version <= MAX:
        raise MicroversionUnsupportedError(
            f"Version {version} is not supported by the API. Minimum is {MIN} and maximum is {MAX}."
        )
    return version


def _from_service_list(headers: Iterable[str]) -> str | None:
    for header in headers:
        for item in header.split(","):
            service, _, version = item.strip().partition(" ")
            if service.lower() == SERVICE:
                return version
    return None

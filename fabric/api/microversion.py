"""Microversions: what a client asked for. Source: Nova's API guide, "Microversions".

Two request headers carry it: `OpenStack-API-Version: compute 2.50, volume 3.1` (a list over services,
may come several times, wins) and, for Compute, the older `X-OpenStack-Nova-API-Version: 2.50`. `latest` means
the highest; nothing means the lowest. Every answer of a known route names the version used, in them too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Microversion(NamedTuple):
    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


MIN = Microversion(2, 1)
MAX = Microversion(2, 104)

SERVICE = "compute"
HEADER = "OpenStack-API-Version"
LEGACY_HEADER = "X-OpenStack-Nova-API-Version"
VARY = f"{HEADER}, {LEGACY_HEADER}"


@dataclass(frozen=True, slots=True)
class Versioning:
    """Which versions of which API there are."""

    service: str
    lowest: Microversion
    highest: Microversion
    legacy_header: str | None = None

    @property
    def vary(self) -> str:
        return HEADER if self.legacy_header is None else f"{HEADER}, {self.legacy_header}"


COMPUTE = Versioning(SERVICE, MIN, MAX, LEGACY_HEADER)
PLACEMENT = Versioning("placement", Microversion(1, 0), Microversion(1, 39))

_FORM = re.compile(r"([1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_SHOWN_CHARS_MAX = 64


class MicroversionMalformedError(ValueError):
    """400. The text is for the user."""


class MicroversionUnsupportedError(ValueError):
    """406. The text is for the user."""

    def __init__(self, message: str, versioning: Versioning) -> None:
        super().__init__(message)
        self.versioning = versioning


def negotiate(headers: Iterable[str], legacy: str | None, versioning: Versioning = COMPUTE) -> Microversion:
    """The version a request wants. `headers`: every `OpenStack-API-Version` value; `legacy`: the older one.

    Raises: MicroversionMalformedError, MicroversionUnsupportedError.
    """
    wanted = _from_service_list(headers, versioning.service)
    if wanted is None:
        wanted = legacy
    return versioning.lowest if wanted is None else parse(wanted.strip(), versioning)


def parse(text: str, versioning: Versioning = COMPUTE) -> Microversion:
    """Raises: MicroversionMalformedError, MicroversionUnsupportedError."""
    if text.lower() == "latest":
        return versioning.highest
    match = _FORM.fullmatch(text)
    if match is None:
        shown = text[:_SHOWN_CHARS_MAX]
        raise MicroversionMalformedError(
            f"API Version String {shown} is of invalid format. Must be of format MajorNum.MinorNum."
        )
    version = Microversion(int(match[1]), int(match[2]))
    if not versioning.lowest <= version <= versioning.highest:
        raise MicroversionUnsupportedError(
            f"Version {version} is not supported by the API. Minimum is {versioning.lowest} and maximum is "
            f"{versioning.highest}.",
            versioning,
        )
    return version


def _from_service_list(headers: Iterable[str], wanted: str) -> str | None:
    for header in headers:
        for item in header.split(","):
            service, _, version = item.strip().partition(" ")
            if service.lower() == wanted:
                return version
    return None

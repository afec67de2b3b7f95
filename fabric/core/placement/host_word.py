"""What a host says of itself to whoever schedules, beside the numbers of its load: in `extra` of what it
gossips, as texts. Each is short, for all of them go to every node whenever one changes; and what is not
readable, or more than anybody says, counts as not said. None of it is signed: it may steer where servers go,
never whether there is room for them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

CPU_FREQUENCY = "cpu.frequency"  # MHz
CPU_PERCENTS = (
    "cpu.percent",
    "cpu.user.percent",
    "cpu.kernel.percent",
    "cpu.idle.percent",
    "cpu.iowait.percent",
)
CPU_METRICS = (*CPU_PERCENTS, CPU_FREQUENCY)  # in the order in which they are said; the last may be left out

FAILED_BUILDS, IMAGES, CPU = "failed_builds", "images", "cpu"
FAILED_BUILDS_MAX = 999  # more are not told apart
IMAGES_MAX = 64  # in base64 344 characters of a load that may have 2,048 bytes; most hosts have a handful
DIGITS_MAX = 6  # of a number that a host says
ADDRESS_BYTES = 4  # one in 67 million other images is taken for one of 64: it is fetched after all
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostWord:
    """`failed_builds`: in a row, lately; Nova's name for it. `images`: what its image cache holds, those used
    last, as `packed` writes them. `metrics`: of CPU_METRICS, whole numbers."""

    failed_builds: int = 0
    images: bytes = b""
    metrics: Mapping[str, int] = field(default_factory=dict)


NOTHING_SAID = HostWord()


def write_word(word: HostWord) -> dict[str, str]:
    """What there is nothing to say of is left out."""
    said = {}
    if word.failed_builds:
        said[FAILED_BUILDS] = str(min(word.failed_builds, FAILED_BUILDS_MAX))
    if word.images:
        said[IMAGES] = base64.b64encode(word.images).decode()
    if word.metrics:
        said[CPU] = " ".join(str(word.metrics[name]) for name in CPU_METRICS if name in word.metrics)
    return said


def read_word(extra: Mapping[str, str]) -> HostWord:
    if not extra:
        return NOTHING_SAID
    failed = extra.get(FAILED_BUILDS, "")
    return HostWord(
        failed_builds=min(int(failed), FAILED_BUILDS_MAX) if _is_number(failed) else 0,
        images=_images(extra.get(IMAGES, "")),
        metrics=_metrics(extra.get(CPU, "")),
    )


def packed(sha256s: Iterable[str]) -> bytes:
    """The beginnings of content addresses, ascending: who uses which when does not change the word."""
    return b"".join(sorted({short_address(each) for each in sha256s})[:IMAGES_MAX])


@lru_cache(maxsize=1_024)
def short_address(sha256: str) -> bytes:
    """Empty for what is no content address."""
    return b"" if _SHA256.fullmatch(sha256) is None else bytes.fromhex(sha256[: 2 * ADDRESS_BYTES])


def is_among(images: bytes, short: bytes) -> bool:
    """Whether one that begins so is among those `packed`."""
    at = images.find(short) if short else -1
    while at >= 0 and at % ADDRESS_BYTES:
        at = images.find(short, at + 1)
    return at >= 0


def _images(text: str) -> bytes:
    try:
        images = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        return b""
    is_whole = len(images) % ADDRESS_BYTES == 0 and len(images) <= IMAGES_MAX * ADDRESS_BYTES
    return images if is_whole else b""


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= DIGITS_MAX


@lru_cache(maxsize=1_024)
def _metrics(text: str) -> Mapping[str, int]:
    """One for all hosts that say the same."""
    texts = text.split(" ")
    if len(texts) not in (len(CPU_PERCENTS), len(CPU_METRICS)) or not all(map(_is_number, texts)):
        return {}
    return dict(zip(CPU_METRICS, map(int, texts), strict=False))

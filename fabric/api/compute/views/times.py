"""Nova writes the same moment in two ways. CLIENTS.md, "Time formats"."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_z(ms: int) -> str:
    """`2026-01-01T00:00:00Z`: created, updated."""
    return _utc(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def micros(ms: int | None) -> str | None:
    """`2026-01-01T00:00:00.000000`: launched_at, services. None stays None."""
    return None if ms is None else _utc(ms).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms // 1_000, UTC).replace(microsecond=ms % 1_000 * 1_000)

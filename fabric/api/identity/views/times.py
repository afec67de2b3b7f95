"""Keystone's time format."""

from __future__ import annotations

from datetime import UTC, datetime


def iso_micros(ms: int) -> str:
    """`2026-01-01T00:00:00.000000Z`: microseconds and Z."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Failures in a row: a success ends them, and so does time."""

from __future__ import annotations

from fabric.runtime.build_failures import REMEMBERED_MS, FailuresInARow


def test_failures_are_counted_in_a_row() -> None:
    failures = FailuresInARow()
    assert failures.count(0) == 0
    for now_ms in (1_000, 2_000):
        failures.failed(now_ms)
    assert failures.count(2_000) == 2
    failures.succeeded()
    assert failures.count(2_000) == 0
    failures.failed(3_000)
    assert failures.count(3_000) == 1


def test_they_are_forgotten_after_a_while_without_one() -> None:
    failures = FailuresInARow()
    failures.failed(0)
    failures.failed(REMEMBERED_MS)
    assert failures.count(2 * REMEMBERED_MS) == 2
    assert failures.count(2 * REMEMBERED_MS + 1) == 0
    failures.failed(3 * REMEMBERED_MS)
    assert failures.count(3 * REMEMBERED_MS) == 1

"""A failure says how to see it again."""

from __future__ import annotations

import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, None]:
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    if report.failed and "seed" in parameters:
        test = item.nodeid.partition("[")[0]
        replay = f"SEED={parameters['seed']} .venv/bin/pytest '{test}'  # at {_commit()}"
        report.sections.append(("replay", replay))


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
    )
    return done.stdout.strip() or "an unknown commit"

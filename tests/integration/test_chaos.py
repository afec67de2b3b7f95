"""The chaos suite itself, one round of it: five agents on machines of their own, harm of two kinds at once.

`ROUNDS=50` kills any two of five agents that often, as `fabric dev up` made them; `make chaos` does all the
rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.beds import why_no_machines

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 580
ROUND_S = 60.0


def outcome_of(*options: str, timeout_s: float) -> dict[str, Any]:
    """Of a run with the embedded log."""
    argv = [sys.executable, "-m", "tests.chaos", "--engine", "embedded", *options]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, cwd=ROOT)
    assert done.stdout, done.stderr
    (outcome,) = json.loads(done.stdout)
    assert done.returncode == (0 if outcome["good"] else 1), done.stderr
    print(done.stderr)
    return dict(outcome)


@pytest.mark.root
@pytest.mark.netns
def test_nothing_is_lost_when_two_of_five_fail_in_different_ways() -> None:
    reason = why_no_machines()
    if reason:
        pytest.skip(reason)
    seed = os.environ.get("SEED", "1")
    options = ("--bed", "machines", "--nemesis", "mix", "--rounds", "1", "--every-s", "0", "--hold-s", "6")
    outcome = outcome_of(*options, "--rate", "20", "--seed", seed, timeout_s=TIMEOUT_S)
    assert outcome["good"], outcome
    assert outcome["calls"] > 0
    assert outcome["servers"] > 0


@pytest.mark.skipif("ROUNDS" not in os.environ, reason="long: ROUNDS says how often")
@pytest.mark.timeout(0)
def test_any_two_of_five_may_die_at_once_again_and_again() -> None:
    rounds = os.environ["ROUNDS"]
    options = ("--bed", "dev", "--nemesis", "kill", "--rounds", rounds, "--every-s", "0")
    outcome = outcome_of(*options, timeout_s=TIMEOUT_S + ROUND_S * int(rounds))
    assert outcome["good"], outcome

"""`bench/scale.py`: how many agents go at which pace, and a run with small numbers."""

from __future__ import annotations

import json
import subprocess

import pytest

from bench._scale_agent import AGENTS_AT_FULL_PACE, SLOWED, pace_of, settings_of
from fabric.core.membership.config import MembershipConfig
from tests.fixtures.bench_run import bench_output

SMALL = (
    *("--agents", "5", "--servers", "6", "--joins", "1", "--lists", "2", "--creates", "1"),
    *("--burst", "4", "--idle", "1"),
)


def test_few_agents_gossip_as_in_a_real_fabric() -> None:
    assert pace_of(5) == pace_of(AGENTS_AT_FULL_PACE) == 1
    usual = MembershipConfig()
    assert all(getattr(usual, name) == value for name, value in settings_of(1).items())


@pytest.mark.parametrize("agents", [100, 500, 5_000])
def test_many_gossip_slower_and_their_patience_grows_as_much(agents: int) -> None:
    pace, usual = pace_of(agents), MembershipConfig()
    slowed = MembershipConfig(**settings_of(pace))
    assert pace == agents / AGENTS_AT_FULL_PACE
    for name in SLOWED:
        assert getattr(slowed, name) == round(getattr(usual, name) * pace)


def test_all_told_loads_cost_no_more_than_at_the_usual_pace() -> None:
    """Each load is told to all."""
    usual = MembershipConfig().fabric_loads_per_s * AGENTS_AT_FULL_PACE
    assert settings_of(pace_of(400))["fabric_loads_per_s"] * 400 <= usual


def test_it_measures_what_a_user_waits_for() -> None:
    (size,) = json.loads(bench_output("scale", *SMALL))["sizes"]
    assert (size["agents"], size["pace"], size["servers"]) == (5, 1, 6)
    for stage in ("admitted", "known", "placed", "built"):
        assert 0 < size["join"][stage]["p50"] <= size["join"][stage]["p99"]
    assert set(size["lists"]) == {"servers", "servers_brief", "hosts", "hosts_brief", "members"}
    assert 0 < size["create"]["accepted"]["p50"] < size["create"]["active"]["p50"]
    assert size["burst"]["servers"] == 4
    assert size["burst"]["active_s"] > 0


def test_those_who_hold_the_log_are_no_fabric_to_measure() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        bench_output("scale", "--agents", "3")
    assert "--agents: more than 3" in caught.value.stderr

"""`bench/schedule.py` runs with small numbers; and where Nova is installed, the same hosts pass for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench._schedule_fleet import fleet_of, requests_of
from bench._schedule_peer import VENV, python_of
from tests.fixtures.bench_run import bench_output

SMALL = ("--sizes", "20", "40", "--requests", "30", "--at-once", "30", "--repeats", "2")
NOVA = ("--nova-requests", "3", "--nova-seconds", "0", "--agree", "60", "120")


def ran(*arguments: str) -> str:
    return bench_output("schedule", *arguments)


def report(*arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(ran(*arguments))
    return found


def test_it_measures_each_question_and_says_the_load() -> None:
    found = report(*SMALL, "--only", "ours")
    assert len(found["machine"]["load"]) == 3
    ours = found["ours"]
    assert set(ours["one"]) == {"20", "40"}
    for one in ours["one"].values():
        assert 0 < one["cpu_us"]["p50_least"] <= one["cpu_us"]["p50"] <= one["cpu_us"]["max"]
    assert 0 < ours["at_once"]["placed"] <= ours["at_once"]["requests"] == 30
    assert ours["table"]["bytes_a_host"]["facts"] > 0
    assert ours["words"]["no_host_cpu_ms"]["median"] > 0


def test_a_peer_that_is_not_there_leaves_its_column_empty_and_says_how_to_get_it(tmp_path: Path) -> None:
    text = ran(*SMALL, "--venv", str(tmp_path / "none"), "--table")
    assert "nova: Nova is not in none: WITH_BENCH=1 ./.ci/setup.sh" in text
    assert "ours, at once: 30 requests among 40 hosts" in text


def test_the_profile_names_where_time_goes() -> None:
    assert "choose.py" in ran("--profile", "20", "--requests", "10")


def test_a_seed_makes_the_same_hosts_and_requests_each_time() -> None:
    fleet = fleet_of(7, 30)
    assert fleet == fleet_of(7, 30)
    assert fleet != fleet_of(8, 30)
    assert requests_of(7, 20, fleet) == requests_of(7, 20, fleet_of(7, 30))


@pytest.mark.slow
@pytest.mark.skipif(python_of(VENV) is None, reason="Nova is not installed: WITH_BENCH=1 ./.ci/setup.sh")
def test_the_same_hosts_pass_for_nova() -> None:
    found = report("--only", "nova", "--sizes", "20", *NOVA)["nova"]
    assert found["agreement"]["differences"] == []
    assert found["agreement"]["agree"] == "120 of 120"
    assert found["one"]["20"]["cpu_us"]["p50"] > 0

"""`bench/why.py` runs with small numbers."""

from __future__ import annotations

import json

from tests.fixtures.bench_run import bench_output

SMALL = ("--hosts", "3", "5", "--servers", "1", "--repeats", "2")


def ran(*arguments: str) -> str:
    return bench_output("why", *arguments)


def test_it_measures_a_server_that_fits_and_one_that_does_not() -> None:
    found = json.loads(ran(*SMALL))
    assert len(found["machine"]["load"]) == 3
    assert [(size["hosts"], size["servers"]) for size in found["sizes"]] == [(3, 3), (5, 5)]
    for size in found["sizes"]:
        for of in ("placed", "huge"):
            assert 0 < size[of]["why"]["p50"] <= size[of]["why"]["max"]
            assert size[of]["answer_bytes"] > 0


def test_it_prints_a_table() -> None:
    lines = ran(*SMALL, "--table").splitlines()
    assert len(lines) == 2 + 2 * 2
    assert len({line.count("|") for line in lines}) == 1

"""`bench/scheduling_round.py` runs with small numbers."""

from __future__ import annotations

import json

from tests.fixtures.bench_run import bench_output

SMALL = ("--hosts", "3", "5", "--servers", "1", "--creates", "2", "--burst", "4")


def ran(*arguments: str) -> str:
    return bench_output("scheduling_round", *arguments)


def test_it_measures_rounds_and_how_long_they_hold_the_loop() -> None:
    found = json.loads(ran(*SMALL))
    assert [size["hosts"] for size in found["sizes"]] == [3, 5]
    for size in found["sizes"]:
        for of in ("first", "one", "burst", "vain"):
            assert 0 < size[of]["decided"]["p50"] <= size[of]["decided"]["max"]
            assert size[of]["hold"] > 0


def test_it_measures_kinds_that_ask_for_cells() -> None:
    (found,) = json.loads(ran("--hosts", "3", "--servers", "1", "--creates", "2", "--cells", "2"))["sizes"]
    assert len(found["cells"]) == 5
    for of in (*found["cells"].values(), found["cells_one"]):
        assert of["decided"]["p50"] > 0
        assert of["hold"] > 0


def test_it_prints_a_table() -> None:
    lines = ran(*SMALL, "--table").splitlines()
    assert len(lines) == 2 + 2
    assert len({line.count("|") for line in lines}) == 1

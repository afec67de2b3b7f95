"""Every fuzz target under plain pytest: its seeds, what once went wrong, and some mutants of its seeds."""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.cases import cases, parse, spell
from tests.fuzz.mutate import flipped, mutant
from tests.fuzz.targets import TARGETS

MUTANTS = 2_000
MUTANTS_OF_SLOW = 200  # targets with a larger share cost more for each run
CASES = list(cases())


@pytest.mark.parametrize("name", TARGETS)
def test_seeds(name: str) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        assert len(seed) <= target.bytes_max
        target.run(seed)


@pytest.mark.parametrize(("target", "name", "data"), CASES, ids=[f"{case[0]}-{case[1]}" for case in CASES])
def test_cases(target: str, name: str, data: bytes) -> None:
    TARGETS[target].run(data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutants(name: str) -> None:
    """The same ones each time; `make fuzz` looks for new ones."""
    target = TARGETS[name]
    seeds, rng = list(target.seeds()), Random(name)
    head = 1 if name.endswith("_messages") else 0
    for _ in range(MUTANTS if target.share < 4 else MUTANTS_OF_SLOW):
        data = rng.choice(seeds)
        data = mutant(data, rng, head=head) if target.is_plain and rng.random() < 0.8 else flipped(data, rng)
        target.run(data)


def test_a_case_is_read_as_it_was_spelled() -> None:
    data = bytes(range(256))
    assert parse("# why\n" + spell(data)) == data

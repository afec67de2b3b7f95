"""The table of Raft's claims names tests that there are, and says each claim once."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.unit.core.raft.claims import CLAIMS, Claim

ROOT = Path(__file__).resolve().parents[2]


@cache
def names_in(file: str) -> frozenset[str]:
    functions = ast.FunctionDef | ast.AsyncFunctionDef
    tree = ast.parse((ROOT / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.where.replace(" ", "_"))
def test_each_claim_is_shown_by_tests_that_exist(claim: Claim) -> None:
    assert claim.tests, "nothing shows it"
    for test in claim.tests:
        file, _, name = test.partition("::")
        assert name.startswith("test_"), test
        assert name in names_in(file), f"there is no {test}"


def test_claims_are_told_apart() -> None:
    assert len({claim.where for claim in CLAIMS}) == len({claim.claim for claim in CLAIMS}) == len(CLAIMS)

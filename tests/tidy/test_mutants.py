"""The planted bugs (`python -m tests.mutants`) follow the sources: each still applies and has its killers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mutants.bug import Bug, DoesNotApplyError, Harm
from tests.mutants.catalog import CATALOG

ROOT = Path(__file__).resolve().parents[2]
BUGS_MIN = 24


@pytest.mark.parametrize("bug", CATALOG, ids=lambda bug: bug.name.replace(" ", "_"))
def test_each_bug_can_be_planted(bug: Bug) -> None:
    bug.check(ROOT)
    assert bug.tests, "nobody is asked to kill it"


def test_bugs_are_many_and_told_apart() -> None:
    names = [bug.name for bug in CATALOG]
    assert len(names) == len(set(names)) >= BUGS_MIN
    changes = [(bug.file, bug.old) for bug in CATALOG]
    assert len(changes) == len(set(changes))
    assert {bug.harm for bug in CATALOG} == set(Harm)


@pytest.mark.parametrize("source", ["", "wrong\n", "right\nright\n"])
def test_a_bug_that_no_longer_applies_says_so(source: str) -> None:
    bug = Bug(name="b", harm=Harm.SAFETY, file="f.py", old="right\n", new="left\n", tests=("t",))
    with pytest.raises(DoesNotApplyError, match="bug 'b'"):
        bug.planted(source)
    assert bug.planted("x\nright\n") == "x\nleft\n"

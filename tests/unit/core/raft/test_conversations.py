"""The scripts in `tests/golden/raft`: is each conversation the one we meant?

`REWRITE=1 pytest tests/unit/core/raft/test_conversations.py` writes the traces anew; read the diff before you
commit it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fixtures.raft_script import play

SCRIPTS = sorted((Path(__file__).parents[3] / "golden" / "raft").glob("*.txt"))


@pytest.mark.parametrize("path", SCRIPTS, ids=[path.stem for path in SCRIPTS])
def test_conversation(path: Path) -> None:
    text = path.read_text()
    played = play(text)
    if os.environ.get("REWRITE"):
        path.write_text(played)
    assert played == text or os.environ.get("REWRITE")


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 8

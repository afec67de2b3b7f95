"""Create, act, delete, with everything that can die dying: one seed, one story."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim.control_life import lived
from tests.sim.seeds import seeds

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("seed", seeds(5))
def test_fabric_is_safe_in_trouble_and_whole_in_peace(seed: int, tmp_path: Path) -> None:
    lived(seed, tmp_path)


def test_one_seed_tells_one_story_in_every_process(tmp_path: Path) -> None:
    """Else a seed would reproduce nothing. Sets of texts have another order under each hash seed."""
    told = [
        subprocess.run(
            [sys.executable, "-m", "tests.sim", "3"],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    ]
    assert told[0] == told[1]
    assert told[0].count("\n") > 100

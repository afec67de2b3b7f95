"""Create, act, delete, with everything that can die dying: one seed, one story."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from tests.sim.control_checks import CHECKS
from tests.sim.control_world import ControlWorld
from tests.sim.seeds import seeds
from tests.sim.stepped_state import counted_flushes
from tests.sim.virtual_loop import run_virtual


def lived(seed: int, directory: Path) -> ControlWorld:
    """A world whose life has passed all checks."""
    world = ControlWorld(seed, directory)

    async def live() -> None:
        try:
            await world.run()
            for check in CHECKS:
                await check(world)
        finally:
            print("\n".join(world.story))  # pytest shows it when the test fails
            await world.close()

    with counted_flushes():
        run_virtual(live(), Random(f"{seed}/threads"))
    return world


@pytest.mark.parametrize("seed", seeds(20))
def test_fabric_is_safe_in_trouble_and_whole_in_peace(seed: int, tmp_path: Path) -> None:
    lived(seed, tmp_path)


def test_one_seed_tells_one_story(tmp_path: Path) -> None:
    """Else a seed would reproduce nothing."""
    first, second = (lived(3, tmp_path / name) for name in ("first", "second"))
    assert first.story == second.story
    assert first.network.lost == second.network.lost
    assert len(first.story) > 100

"""Servers are shelved and brought back while everybody dies now and then: one guest, what was written on it,
and an end to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.sim.control_checks import CHECKS
from tests.sim.control_world import LIFE_S
from tests.sim.seeds import seeds
from tests.sim.shelve_world import (
    ShelveWorld,
    nothing_half_copied_is_left,
    pages_are_on_the_shelf,
    the_shelf_is_in_order,
)
from tests.sim.stepped_state import no_flushes
from tests.sim.virtual_loop import run_virtual

OF_THE_SHELF = (the_shelf_is_in_order, pages_are_on_the_shelf, nothing_half_copied_is_left)


@pytest.mark.parametrize("seed", seeds(3))
def test_what_was_shelved_comes_back_as_it_was(seed: int, tmp_path: Path) -> None:
    world = ShelveWorld(seed, tmp_path)

    async def live() -> None:
        try:
            async with asyncio.timeout(LIFE_S):
                await world.run()
            for check in (*CHECKS, *OF_THE_SHELF):
                await check(world)  # type: ignore[operator]
        finally:
            print("\n".join(world.story))
            print(dict(world.asked))
            await world.close()

    with no_flushes():
        run_virtual(live(), Random(f"{seed}/threads"))

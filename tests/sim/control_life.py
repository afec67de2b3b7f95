"""One seed's whole life, judged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from tests.sim.control_checks import CHECKS
from tests.sim.control_world import LIFE_S, ControlWorld
from tests.sim.stepped_state import no_flushes
from tests.sim.virtual_loop import run_virtual


def lived(seed: int, directory: Path) -> ControlWorld:
    """A world whose life has passed all checks. Prints its story. Raises AssertionError, TimeoutError."""
    world = ControlWorld(seed, directory)

    async def live() -> None:
        try:
            async with asyncio.timeout(LIFE_S):
                await world.run()
            for check in CHECKS:
                await check(world)
        finally:
            print("\n".join(world.story))
            await world.close()

    with no_flushes():
        run_virtual(live(), Random(f"{seed}/threads"))
    return world

"""Servers go from host to host while everybody dies now and then: one guest, its disks, and an end to it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from tests.sim.control_checks import (
    addresses_are_unique_and_freed,
    everything_happened_once,
    promises_are_kept,
    rows_are_what_the_log_says,
)
from tests.sim.control_world import LIFE_S
from tests.sim.moves_world import (
    MovesWorld,
    guests_are_where_rows_say,
    moves_are_at_rest,
    nothing_written_is_lost,
)
from tests.sim.seeds import seeds
from tests.sim.stepped_state import no_flushes
from tests.sim.virtual_loop import run_virtual

CHECKS = (
    promises_are_kept,
    everything_happened_once,
    rows_are_what_the_log_says,
    addresses_are_unique_and_freed,
    moves_are_at_rest,
    guests_are_where_rows_say,
    nothing_written_is_lost,
)


@pytest.mark.parametrize("seed", seeds(6))
def test_a_server_that_moves_is_one_guest_with_its_disks(seed: int, tmp_path: Path) -> None:
    world = MovesWorld(seed, tmp_path)

    async def live() -> None:
        try:
            async with asyncio.timeout(LIFE_S):
                await world.run()
            for check in CHECKS:
                await check(world)  # type: ignore[operator]
        finally:
            print("\n".join(world.story))
            print(dict(world.asked))
            await world.close()

    with no_flushes():
        run_virtual(live(), Random(f"{seed}/threads"))

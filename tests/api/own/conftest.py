from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.api.compute.world import World, open_world


@pytest_asyncio.fixture(params=[True, False], ids=["kept", "read"])
async def world(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """With a host table that is kept, and with one that is read for each question."""
    async with open_world(tmp_path, is_table_kept=request.param) as opened:
        yield opened

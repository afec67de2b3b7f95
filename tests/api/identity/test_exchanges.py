"""Identity as its clients see it: every file in `exchanges/`, each on a fresh fabric."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.exchanges import play
from tests.api.identity.conftest import IdentityWorld

FILES = sorted((Path(__file__).parent / "exchanges").glob("*.http"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
async def test_exchange(path: Path, world: IdentityWorld) -> None:
    await play(path, world.session, world.url, {})

"""The real embedded state engine, opened in a test's own directory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fabric.runtime.clock import SystemClock
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine


@asynccontextmanager
async def open_state(directory: Path) -> AsyncIterator[VoterEngine]:
    state = lone_voter(directory / "state", clock=SystemClock())
    await state.open()
    try:
        yield state
    finally:
        await state.close()

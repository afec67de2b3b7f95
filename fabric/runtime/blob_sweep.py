"""Frees the disk of blobs that no image names any more. Every node sweeps its own store."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Protocol

from fabric.core.images.queries import BlobsInUse
from fabric.errors import FabricError
from fabric.runtime.hard_state import HardState

log = logging.getLogger(__name__)

SWEEP_INTERVAL_S = 600.0
UNUSED_AGE_S = 3_600  # an upload or a fetch has long become a record, or failed, by then


class SweptStore(Protocol):
    async def sweep(self, in_use: frozenset[str], *, unused_s: int) -> tuple[str, ...]: ...


class BlobSweeper:
    """Blobs that hosts booted from are safe: the host's image cache holds links of its own to them."""

    def __init__(
        self,
        state: HardState,
        store: SweptStore,
        *,
        interval_s: float = SWEEP_INTERVAL_S,
        unused_s: int = UNUSED_AGE_S,
    ) -> None:
        self._state = state
        self._store = store
        self._interval_s = interval_s
        self._unused_s = unused_s

    async def run(self) -> None:
        """Until cancelled. A sweep that fails is left to the next one."""
        while True:
            try:
                await self.sweep_once()
            except (FabricError, OSError) as error:
                log.warning("blob sweep failed", extra=_fields_of(error))
            await asyncio.sleep(self._interval_s)

    async def sweep_once(self) -> tuple[str, ...]:
        """Addresses of the blobs deleted. Raises FabricError (rows cannot be read: nothing is deleted),
        OSError."""
        in_use = frozenset(await self._state.read(BlobsInUse()))
        gone = await self._store.sweep(in_use, unused_s=self._unused_s)
        if gone:
            log.info("unused blobs deleted", extra={"count": len(gone)})
        return gone


def _fields_of(error: Exception) -> Mapping[str, str]:
    return {"error": str(error)}

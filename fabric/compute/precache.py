"""Images that somebody wants on this host before a server of it comes: fetched one after the other, so that
builds, which do not wait for this, have the network nearly to themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from fabric.compute.errors import ImageError
from fabric.compute.image_cache import ImageCache
from fabric.core.servers.model import ImageSource
from fabric.errors import RemoteError
from proto.errors import Outcome

log = logging.getLogger(__name__)

WAITING_MAX = 256  # as many as one request may name


class Precacher:
    def __init__(self, images: ImageCache) -> None:
        self._images = images
        self._waiting: dict[str, ImageSource] = {}  # by content
        self._wake = asyncio.Event()

    def want(self, sources: Iterable[ImageSource]) -> None:
        """In the background, unless they are here. An agent that stops forgets them. Raises RemoteError when
        too many wait; then none of these does."""
        wanted = {each.sha256: each for each in sources if each.sha256 not in self._waiting}
        if len(self._waiting) + len(wanted) > WAITING_MAX:
            said = f"{len(self._waiting)} images wait already, at most {WAITING_MAX} may; ask again later"
            raise RemoteError("fabric.host.busy", said, Outcome.NOT_DONE)
        self._waiting.update(wanted)
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                source = next(iter(self._waiting.values()))
                await self._bring(source)
                del self._waiting[source.sha256]

    async def _bring(self, source: ImageSource) -> None:
        fields = {"image": source.image_id}
        is_here = self._images.has(source)
        try:
            await self._images.ensure(source)
        except ImageError as error:
            log.warning("image not cached", extra={**fields, "error": str(error)})
        else:
            log.info("image cached by request", extra={**fields, "was_here": is_here})

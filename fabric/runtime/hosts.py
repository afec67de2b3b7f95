"""What the API asks of a host directly, beside state: answers that live only there, and wishes that nobody
needs to remember."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from fabric.core.servers.model import ImageSource
from proto.ids import NodeId, ServerId


class HostCalls(Protocol):
    async def console_log(self, host_id: NodeId, server_id: ServerId, *, lines: int | None) -> str:
        """The guest's console output, the last `lines` of it.

        Raises: PeerUnreachableError, DeadlineExceededError, RemoteError.
        """
        ...

    async def cache_images(self, host_id: NodeId, sources: Sequence[ImageSource]) -> None:
        """It has heard, and brings them into its cache in the background.

        Raises: PeerUnreachableError, DeadlineExceededError, RemoteError.
        """
        ...

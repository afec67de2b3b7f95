"""What the API asks of a host directly, beside state: answers that live only there, and wishes that nobody
needs to remember."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fabric.core.servers.model import ImageSource
from proto.ids import NodeId, ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationView:
    """In bytes."""

    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0


class HostCalls(Protocol):
    async def console_log(self, host_id: NodeId, server_id: ServerId, *, lines: int | None) -> str:
        """The guest's console output, the last `lines` of it.

        Raises: PeerUnreachableError, DeadlineExceededError, RemoteError.
        """
        ...

    async def migration(self, host_id: NodeId, server_id: ServerId) -> MigrationView | None:
        """How far a live migration is that goes out from that host; None: it knows of none.

        Raises: PeerUnreachableError, DeadlineExceededError, RemoteError.
        """
        ...

    async def cache_images(self, host_id: NodeId, sources: Sequence[ImageSource]) -> None:
        """It has heard, and brings them into its cache in the background.

        Raises: PeerUnreachableError, DeadlineExceededError, RemoteError.
        """
        ...

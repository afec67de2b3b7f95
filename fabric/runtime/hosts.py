"""What the API asks of a host directly, beside state: answers that live only there."""

from __future__ import annotations

from typing import Protocol

from proto.ids import NodeId, ServerId


class HostCalls(Protocol):
    async def console_log(self, host_id: NodeId, server_id: ServerId, *, lines: int | None) -> str:
        """The guest's console output, the last `lines` of it.

        Raises: PeerUnreachableError, DeadlineExceededError, RemoteError.
        """
        ...

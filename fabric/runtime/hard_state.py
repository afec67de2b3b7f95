"""The control plane as everybody above sees it: propose commands, read answers, hear what was applied.

Implementations: `fabric.store.voter_engine` (log + SQLite), `fabric.store.postgres`, and
`fabric.runtime.remote_state` (another node's, over the mesh).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from fabric.core.queries import Applied, AppliedEntry, Consistency, Listener, Query
from proto.commands import Command
from proto.ids import LogIndex, RequestId

__all__ = ["AppliedEntry", "HardState", "Listener", "derive_request_id"]

T = TypeVar("T")


class HardState(Protocol):
    @property
    def applied_index(self) -> LogIndex: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """Durable and applied when it returns. Exactly once per `request_id`: a replay returns the
        stored result with `replayed`; the same id with another command is rejected `conflict`.

        One request id names one command. A caller that proposes several derives ids for them
        (`derive_request_id`).

        Raises:
            CommandRejectedError: apply said no, nothing changed.
            NoQuorumError, NotLeaderError: not done.
            DeadlineExceededError: unknown; ask again with the same id.
        """
        ...

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """Raises MarkerNotFoundError where the query has a page marker that names nothing."""
        ...

    async def catch_up(self) -> None:
        """When this returns, reads see whatever was answered anywhere before it was asked, and listeners were
        told of it, but for what was `passed_over`. Raises FabricError."""
        ...

    @property
    def passed_over(self) -> int:
        """How often rows came of which no listener is told: a snapshot's, or those behind a gap in a feed.
        Whoever keeps what it was told reads all anew when this has changed."""
        ...

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` on the event loop for each applied entry, in order, when the rows hold it. Returns
        the unsubscriber. A listener must not block."""
        ...


def derive_request_id(request_id: RequestId, part: str) -> RequestId:
    """The id of one command among several that serve the same request. Stable, so retries are safe."""
    return RequestId(f"{request_id}/{part}")

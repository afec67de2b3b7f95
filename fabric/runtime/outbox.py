"""Membership's way out: straight to the link while it takes frames, else into the link's queue until it does.

ZeroMQ's own queue is kept short on purpose (zmq_options.SEND_QUEUE_FRAMES_MAX): what lies in it cannot be
replaced by something newer any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable

from fabric.mesh.contract import LinkFact
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.clock import Clock
from fabric.runtime.link_queue import LinkQueue
from proto.errors import WireError
from proto.ids import NodeId
from proto.membership import MembershipMessage

log = logging.getLogger(__name__)

RETRY_MIN_S = 0.02  # a full link is tried again this soon; a new one tells by itself that it is up
RETRY_MAX_S = 0.2


class Outbox:
    """On the loop's thread. A queue exists only while something waits in it."""

    def __init__(self, switchboard: Switchboard, clock: Clock) -> None:
        self._switchboard = switchboard
        self._clock = clock
        self._queues: dict[NodeId, LinkQueue] = {}
        self._pinned: frozenset[NodeId] = frozenset()
        self._retry: asyncio.TimerHandle | None = None
        self._retry_s = RETRY_MIN_S
        self.dropped: Counter[str] = Counter()

    @property
    def waiting(self) -> int:
        """Frames and words about nodes that wait for some link."""
        return sum(map(len, self._queues.values()))

    def pin(self, node_ids: frozenset[NodeId]) -> None:
        """To whom a link is kept: only news for these may outlast the loss of their link."""
        self._pinned = node_ids

    def send(self, to: Iterable[NodeId], message: MembershipMessage) -> None:
        """Encoded once, for as many links as it goes to."""
        try:
            frame: bytes | None = None
            for node_id in to:
                queue = self._queues.get(node_id)
                if queue is None:
                    frame = self._switchboard.encode(message) if frame is None else frame
                    if self._switchboard.send_frame(node_id, frame):
                        continue
                    queue = self._queues[node_id] = LinkQueue(self.dropped)
                    self._try_later()
                queue.add(message, self._switchboard.encode, self._clock.monotonic_ms())
        except WireError as error:  # ours to avoid; the rest of the fabric need not suffer for it
            self.dropped[error.reason] += 1
            log.error("message cannot be sent", extra={"kind": message.KIND, "reason": str(error)})

    def on_link(self, node_id: NodeId, fact: LinkFact) -> None:
        """Must come after the core was told, so that its greeting is in the queue already."""
        queue = self._queues.get(node_id)
        if queue is None:
            return
        if fact is LinkFact.UP:
            self._flush(node_id, queue)
        elif node_id in self._pinned:
            queue.drop_control()
        else:
            self.dropped["queue_link_lost"] += len(queue)
            del self._queues[node_id]

    def forget(self, node_id: NodeId) -> None:
        """That node is no member any more."""
        self._queues.pop(node_id, None)

    def close(self) -> None:
        self._queues.clear()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _flush(self, node_id: NodeId, queue: LinkQueue) -> bool:
        """Whether all of it went."""
        try:
            is_empty = queue.flush(
                lambda frame: self._switchboard.send_frame(node_id, frame),
                self._switchboard.encode,
                self._clock.monotonic_ms(),
            )
        except WireError as error:  # it can never be sent, and what is behind it must not wait for that
            self.dropped[error.reason] += len(queue)
            log.error("queue cannot be sent", extra={"node": node_id, "reason": str(error)})
            is_empty = True
        if is_empty:
            del self._queues[node_id]
        return is_empty

    def _try_later(self) -> None:
        if self._retry is None:
            self._retry = asyncio.get_running_loop().call_later(self._retry_s, self._try_all)

    def _try_all(self) -> None:
        """Trying is also what dials a link that rests after a failure, and what finds a wedged one."""
        self._retry = None
        before = self.waiting
        for node_id, queue in list(self._queues.items()):
            self._flush(node_id, queue)
        made_progress = self.waiting < before
        self._retry_s = RETRY_MIN_S if made_progress else min(RETRY_MAX_S, self._retry_s * 2)
        if self._queues:
            self._try_later()
        else:
            self._retry_s = RETRY_MIN_S

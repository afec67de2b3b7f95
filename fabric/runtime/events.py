"""The story of this node's fabric, newest last: who came and went, who leads, what was asked for.

Bounded and in memory: it is for people following along, not a record (that is the audit trail's task).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fabric.runtime.clock import Clock

EVENTS_KEPT_MAX = 2_000
FOLLOWER_QUEUE_MAX = 1_000
_VERBS = {  # of each noun; whoever adds an event adds it here, or it cannot be asked for
    "agent": "started",
    "api": "not_served virtual_address_failed virtual_address_taken",
    "certificate": "expired expiring renewed",
    "level": "raised",
    "link": "bad good",
    "member": "admitted agent_down alive forgotten host_down joined key_rotated leaving left refuted removed "
    "restarted roles stalled suspect two_owners",
    "mesh": "dropped",
    "node": "admitted certified cloned connected drained entrusted expelled isolated not_admitted removed "
    "rename_waits renamed rotated undrained",
    "role": "granted",
    "server": "create delete expired move_abort move_arrived move_begun move_confirmed move_failed "
    "move_force move_placed move_reverted move_unplaceable observed pin placed reboot_hard reboot_soft "
    "removed shelve shelved start stop unpin unplaceable unshelve",
    "voter": "set_back",
    "voters": "changed halted",
}
KINDS = tuple(f"{noun}.{verb}" for noun, verbs in _VERBS.items() for verb in verbs.split())


@dataclass(frozen=True, slots=True)
class Event:
    """`event` is "noun.verb"; `node` the name of the node it is about."""

    time_ms: int
    event: str
    node: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, str]:
        stamp = datetime.fromtimestamp(self.time_ms / 1000, UTC).isoformat(timespec="milliseconds")
        head = {"time": stamp.replace("+00:00", "Z"), "event": self.event, "node": self.node}
        return head | {key: value for key, value in self.fields.items() if key not in head}


class EventLog:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: deque[Event] = deque(maxlen=EVENTS_KEPT_MAX)
        self._followers: set[asyncio.Queue[Event]] = set()

    def add(self, event: str, node: str, fields: Mapping[str, str] | None = None) -> None:
        entry = Event(self._clock.wall_ms(), event, node, fields or {})
        self._kept.append(entry)
        for queue in self._followers:
            if queue.full():
                queue.get_nowait()  # a slow follower loses the oldest, never holds us up
            queue.put_nowait(entry)

    def recent(self) -> tuple[Event, ...]:
        return tuple(self._kept)

    async def follow(self) -> AsyncGenerator[Event, None]:
        """What is kept, then what comes, without a gap."""
        queue: asyncio.Queue[Event] = asyncio.Queue(maxsize=FOLLOWER_QUEUE_MAX)
        past = self.recent()
        self._followers.add(queue)
        try:
            for entry in past:
                yield entry
            while True:
                yield await queue.get()
        finally:
            self._followers.discard(queue)

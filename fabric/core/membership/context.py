"""What the parts of the core share while one event is handled: time, table, timers, effects so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random

from fabric.core.membership.awareness import Awareness
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import Broadcast, Effect, Notify, Refused, Send
from fabric.core.membership.model import GONE_STATES, MemberState
from fabric.core.membership.table import Entry, Table
from fabric.core.membership.timers import Timers
from fabric.core.membership.trust import Trust
from proto.ids import NodeId
from proto.membership import MembershipMessage

UNHEARD_MS = 500  # neighbours are asked so soon and so often about members nobody has vouched for
YOUNG_MS = 10_000  # a node that has run less may not be known to everybody yet


class Context:
    def __init__(self, config: MembershipConfig, rng: Random, trust: Trust, table: Table) -> None:
        self.config = config
        self.rng = rng
        self.trust = trust
        self.table = table
        self.timers = Timers()
        self.awareness = Awareness(config.awareness_max)
        self.counters: Counter[str] = Counter()
        self.effects: list[Effect] = []
        self.now_ms = 0
        self.now_us = 0
        self.started_ms = 0
        self.grew_ms = -1_000_000  # when the table last got a new member
        self.loaded_ms = -1_000_000  # when the table last got a load that was said for a change's sake
        self.lag_ms = 0  # how late the last wake was

    @property
    def my_id(self) -> NodeId:
        return self.table.me.record.node_id

    @property
    def uptime_ms(self) -> int:
        return self.now_ms - self.started_ms

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)

    def send(self, to: NodeId, message: MembershipMessage) -> None:
        self.effects.append(Send(to, message))

    def send_all(self, to: Sequence[NodeId], message: MembershipMessage) -> None:
        if len(to) == 1:
            self.effects.append(Send(to[0], message))
        elif to:
            self.effects.append(Broadcast(tuple(to), message))

    def refuse(self, sender: NodeId, reason: str) -> None:
        self.counters[f"refused.{reason}"] += 1
        self.effects.append(Refused(sender, reason))

    def wake_in(self, key: object, after_ms: int) -> None:
        self.timers.set(key, self.now_ms + after_ms)

    def jittered(self, ms: int, percent: int = 10) -> int:
        spread = ms * percent // 100
        return ms + self.rng.randint(-spread, spread)

    def rejudge(self, entry: Entry) -> None:
        """Brings `entry.state` up to date and tells whoever listens. Must follow every change of evidence."""
        before, state = entry.state, entry.judged(self.now_ms, self.config)
        if state is before:
            return
        entry.state, entry.changed_ms = state, self.now_ms
        self.table.gone_count += (state in GONE_STATES) - (before in GONE_STATES)
        self.table.rehash(entry)
        if state is MemberState.LEAVING:
            self.timers.set(("grace", entry.node_id), entry.said_ms + self.config.restart_grace_ms)
        self.emit(Notify(entry.member(), before))

    def living(self) -> int:
        """Members that are here as far as we know, this node included."""
        return len(self.table) - self.table.gone_count

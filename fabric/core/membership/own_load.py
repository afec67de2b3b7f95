"""Publishing the dynamic part of this node's capacity within the fabric's budget. Source: design/gossip.md
4.6."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from fabric.core.membership.broadcast import Broadcaster
from fabric.core.membership.context import Context
from fabric.core.membership.model import Load
from fabric.core.membership.record import write_load
from fabric.core.membership.tree import BroadcastTree
from proto.membership import NUMBER_MAX, LoadState

TOKEN_MS = 1_000  # one more urgent load may pass each second


class OwnLoad:
    """Invariant: at most one load waits, the newest."""

    def __init__(self, context: Context, broadcaster: Broadcaster, tree: BroadcastTree) -> None:
        self._context = context
        self._broadcaster = broadcaster
        self._tree = tree
        self._now = Load()
        self._published = Load()
        self._published_ms = -1_000_000_000
        self._version = 0
        self.on_exhausted: Callable[[], None] = lambda: None
        self._tokens = float(context.config.urgent_burst)
        self._tokens_ms = 0

    def start(self) -> None:
        self._context.wake_in("shape", self._tree.shape_again_ms())

    def offer(self, load: Load, *, extra: Mapping[str, str] | None = None, urgent: bool) -> None:
        """What this node uses now. Goes out at once, later, or never, as budget and change have it. `extra`
        replaces all that was said there; None: it stays."""
        self._now = replace(load, extra=self._now.extra if extra is None else dict(extra))
        if urgent or self._now.is_draining != self._published.is_draining:
            if self._take_token():
                self.publish()
                return
        elif not self._is_worth_telling():
            return
        self._context.timers.set_earlier(
            "load", max(self._context.now_ms, self._published_ms + self._interval_ms())
        )

    def offer_extra(self, extra: Mapping[str, str], *, urgent: bool) -> None:
        self.offer(self._now, extra=extra, urgent=urgent)

    def publish(self) -> None:
        self._renew()
        self._broadcaster.push_load(self._context.my_id, None)

    def refresh(self) -> None:
        """Nothing changed for long: say it again, so that age tells something."""
        self.publish()

    def shape(self) -> None:
        """The lowest living id says its load often, changed or not: that word shapes the broadcast tree."""
        self._context.wake_in("shape", self._tree.shape_again_ms())
        if self._tree.is_shaper:
            self._renew()
            load = self._context.table.my_load
            assert load is not None
            self._broadcaster.push_shaping(load, None, hops=0)

    def on_other_word(self, theirs: LoadState) -> None:
        """A word about our load that we never said, or said in a life we forgot: outbid it."""
        me = self._context.table.me.record
        mine = self._context.table.my_load
        if theirs.epoch == me.epoch and (
            mine is None or theirs.version > mine.version or theirs.body != mine.body
        ):
            self._context.counters["loads_forged"] += 1
            if theirs.version >= NUMBER_MAX:
                self.on_exhausted()  # no higher number is left in this epoch
                return
            self._number(min(max(theirs.version, self._version) + 1, NUMBER_MAX))
            self._broadcaster.push_load(self._context.my_id, None)

    def on_new_epoch(self) -> None:
        """Loads are numbered within an epoch."""
        self._version = 0
        self.publish()

    def _renew(self) -> None:
        context = self._context
        if self._version >= NUMBER_MAX - 1:
            self.on_exhausted()  # somebody said such a number in our name: the next epoch begins at 1
            return
        context.timers.cancel("load")
        context.wake_in("load_refresh", context.jittered(context.config.load_refresh_ms))
        self._published, self._published_ms = self._now, context.now_ms
        self._number(self._version + 1)

    def _number(self, version: int) -> None:
        context = self._context
        self._version = version
        me = context.table.me.record
        context.table.set_my_load(write_load(me.node_id, me.epoch, version, self._now))
        context.counters["loads_published"] += 1

    def _interval_ms(self) -> int:
        config = self._context.config
        return max(config.load_interval_ms, self._context.living() * 1_000 // config.fabric_loads_per_s)

    def _take_token(self) -> bool:
        now_ms = self._context.now_ms
        refill = (now_ms - self._tokens_ms) / TOKEN_MS
        self._tokens = min(float(self._context.config.urgent_burst), self._tokens + refill)
        self._tokens_ms = now_ms
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _is_worth_telling(self) -> bool:
        """A change of two per cent of what the host has, or anything that is counted in ones."""
        if self._version == 0:
            return True
        old, new = self._published, self._now
        if (old.servers, old.is_draining, dict(old.extra)) != (new.servers, new.is_draining, dict(new.extra)):
            return True
        has = self._context.table.me.record.inventory
        percent = self._context.config.load_change_percent
        pairs = (
            (old.vcpus_used, new.vcpus_used, has.vcpus),
            (old.memory_mb_used, new.memory_mb_used, has.memory_mb),
            (old.disk_gb_used, new.disk_gb_used, has.disk_gb),
            (
                old.load_milli,
                new.load_milli,
                has.vcpus * 1_000 * 5,
            ),  # load wobbles: a tenth of a core at least
        )
        return any(a != b and abs(a - b) * 100 >= percent * total for a, b, total in pairs)

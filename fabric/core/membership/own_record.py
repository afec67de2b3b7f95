"""What this node says about itself: the one place where our own record changes.

Order is (epoch, incarnation, version). A change raises the version, a refutation the incarnation, a start
the epoch; a node that meets a newer self than it remembers (its disk was lost or restored) takes the next
epoch. When that newer self goes on answering, it is no memory but another living process with our keys: a
clone. The older process stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from fabric.core.membership.broadcast import Broadcaster
from fabric.core.membership.context import Context
from fabric.core.membership.events import LocalChanged, Quarantine, RaiseEpoch
from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import SignedRecord, sign_record
from proto.ids import Epoch
from proto.membership import NUMBER_MAX, Presence


class OwnRecord:
    def __init__(self, context: Context, broadcaster: Broadcaster) -> None:
        self._context = context
        self._broadcaster = broadcaster
        self._published_ms = 0
        self._outgrown: set[bytes] = set()  # boot ids of other selves met in this life
        self.on_new_epoch: Callable[[], None] = lambda: None
        self.presence = Presence.HERE
        self.is_quarantined = False

    def start(self) -> None:
        self._published_ms = self._context.now_ms

    def change(self, change: LocalChanged) -> None:
        me = self._context.table.me.record
        inventory = me.inventory if change.capacity is None else change.capacity.inventory
        record = replace(
            me,
            roles=me.roles if change.roles is None else change.roles,
            api_urls=me.api_urls if change.api_urls is None else change.api_urls,
            labels=me.labels if change.labels is None else change.labels,
            certificate=me.certificate if change.certificate is None else change.certificate,
            curve_public=me.curve_public if change.curve_public is None else change.curve_public,
            inventory=inventory,
        )
        if record != me:
            self._publish(replace(record, version=record.version + 1))

    def refute(self) -> None:
        """Somebody accuses us, and we are here. Lifeguard: being accused is a sign of being unwell."""
        if self.presence is not Presence.HERE:
            return
        self._context.counters["refutations"] += 1
        self._context.awareness.worse()
        me = self._context.table.me.record
        self._publish(replace(me, incarnation=me.incarnation + 1, version=me.version + 1), urgent=True)

    def outbid_incarnation(self, epoch: int, incarnation: int) -> None:
        """Refutes an accusation of (epoch, incarnation), which may be ahead of what we remember."""
        me = self._context.table.me.record
        if epoch > me.epoch:
            self._take_epoch(epoch + 1)
        elif epoch == me.epoch and incarnation >= me.incarnation and self.presence is Presence.HERE:
            self._context.counters["refutations"] += 1
            self._context.awareness.worse()
            record = replace(me, incarnation=min(incarnation + 1, NUMBER_MAX), version=me.version + 1)
            self._publish(record, urgent=True)

    def leave(self, *, for_good: bool) -> SignedRecord:
        """The farewell, signed; the caller tells it."""
        self.presence = Presence.LEFT if for_good else Presence.LEAVING
        me = self._context.table.me.record
        signed = sign_record(
            replace(me, version=me.version + 1), self._context.trust.sign, presence=self.presence
        )
        self._context.table.set_me(signed)
        return signed

    def on_other_self(self, signed: SignedRecord, age_ms: int) -> None:
        """A believed word of our own id that we did not say and that is newer than, or as new as, ours; it
        was said `age_ms` ago, as whoever brought it says."""
        if self.presence is not Presence.HERE or self.is_quarantined:
            return
        theirs, me = signed.record, self._context.table.me.record
        if theirs.boot_id == me.boot_id and theirs.order <= me.order:
            return
        if theirs.boot_id and theirs.boot_id in self._outgrown and self._is_older(theirs, age_ms):
            self.is_quarantined = True
            self._context.counters["clones"] += 1
            self._context.emit(
                Quarantine("another process uses this node's identity and has run longer", theirs.endpoint)
            )
            return
        if theirs.boot_id in self._outgrown:
            self._context.counters["clones"] += 1
        self._outgrown.add(theirs.boot_id)
        self._take_epoch(theirs.epoch + 1)

    def begin_new_epoch(self) -> None:
        self._take_epoch(self._context.table.me.record.epoch + 1)

    def _is_older(self, theirs: NodeRecord, age_ms: int) -> bool:
        """Whether the other process has run longer; of two that started together the lower boot id yields.
        Its word outbids our last one, so it was not said before that, whatever age is claimed."""
        theirs_ms = theirs.uptime_ms + min(age_ms, self._context.now_ms - self._published_ms)
        return (theirs_ms, theirs.boot_id) > (self._context.uptime_ms, self._context.table.me.record.boot_id)

    def _take_epoch(self, epoch: int) -> None:
        epoch = min(epoch, NUMBER_MAX)
        self._context.emit(RaiseEpoch(Epoch(epoch)))
        me = self._context.table.me.record
        self._publish(replace(me, epoch=Epoch(epoch), incarnation=0, version=me.version + 1), urgent=True)
        self.on_new_epoch()

    def _publish(self, record: NodeRecord, *, urgent: bool = False) -> None:
        self._published_ms = self._context.now_ms
        record = replace(record, uptime_ms=self._context.uptime_ms)
        self._context.table.set_me(sign_record(record, self._context.trust.sign))
        self._broadcaster.push_state(self._context.my_id, None)
        if urgent:
            self._broadcaster.push_everywhere(self._context.my_id)

"""How long the gone are remembered. Source: design/gossip.md 4.5 (Serf keeps 24 h; memberlist #312 says why).

A tombstone is what keeps a lagging node's old table from reviving the dead. When it has served its time the
entry becomes FORGOTTEN: out of every list and out of the digest, but its key stays admitted, for it is
still a member and may come back with a higher epoch. Only the root's removal ends that.
"""

from __future__ import annotations

from fabric.core.membership.context import Context
from fabric.core.membership.events import Notify
from fabric.core.membership.model import DOWN_STATES, GONE_STATES, MemberState
from fabric.core.membership.table import Entry

SWEEP_MS = 600_000
SWEEP_MIN_MS = 1_000  # many may end one after another


class Tombstones:
    def __init__(self, context: Context) -> None:
        self._context = context

    def sweep(self) -> None:
        """Forgets who has been gone for long enough, and comes back when the next one will have been: the sum
        over the table differs from a neighbour's until both have forgotten."""
        context = self._context
        next_ms = context.now_ms + context.jittered(SWEEP_MS)
        for entry in context.table:
            context.rejudge(entry)
            over_ms = self._over_ms(entry)
            if over_ms is None:
                continue
            if over_ms <= context.now_ms:
                self.forget(entry)
            else:
                next_ms = min(next_ms, over_ms)
        context.timers.set("tombstones", max(next_ms, context.now_ms + SWEEP_MIN_MS))

    def _over_ms(self, entry: Entry) -> int | None:
        config = self._context.config
        if entry.state in DOWN_STATES:
            return entry.verdict_ms + config.down_kept_ms
        return entry.said_ms + config.left_kept_ms if entry.state is MemberState.LEFT else None

    def forget_ghost(self, entry: Entry) -> None:
        """No living member seems to know it. When one does after all, it is back at once."""
        entry.is_ghost = True
        self.forget(entry)

    def revive_ghost(self, entry: Entry) -> bool:
        """It spoke, or a living member vouches for it. Whether it had been forgotten as a ghost."""
        if entry.state is not MemberState.FORGOTTEN or not entry.is_ghost:
            return False
        context = self._context
        entry.is_ghost = False
        entry.state, entry.heard_ms = MemberState.SUSPECT, context.now_ms
        context.table.gone_count -= 1
        context.rejudge(entry)
        context.table.rehash(entry)
        return True

    def forget(self, entry: Entry) -> None:
        context = self._context
        before, entry.state, entry.changed_ms = entry.state, MemberState.FORGOTTEN, context.now_ms
        context.table.gone_count += before not in GONE_STATES
        entry.load = None
        context.table.vouch(entry)
        context.table.rehash(entry)
        context.counters["forgotten"] += 1
        context.emit(Notify(entry.member(), before))

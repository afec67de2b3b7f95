"""What happened to a member, in words for people: the `member.*` events.

The table tells state and record after each change; what it means is the difference to what was told before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fabric.core.membership.model import DOWN_STATES, Member, MemberState
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from proto.ids import NodeId

SPOKE_LATELY_S = 10.0
STUCK_S = 29.0  # stalled so long, it is called down for that alone (membership's `stalled_down_ms`, 30 s)
_REASONS = {
    MemberState.STALLED: "its machine answers and its agent does not",
    MemberState.AGENT_DOWN: "its machine answers and refuses: no agent runs there",
    MemberState.HOST_DOWN: "nothing answers there",
    MemberState.LEAVING: "its agent was stopped; it may be back soon",
}


@dataclass(frozen=True, slots=True)
class _Told:
    """What the last event about a member was based on."""

    epoch: int
    incarnation: int
    curve_public: bytes
    roles: tuple[str, ...]
    changed_ms: int

    @classmethod
    def of(cls, member: Member) -> _Told:
        record = member.record
        roles = tuple(sorted(claim.role for claim in record.roles))
        return cls(record.epoch, record.incarnation, record.curve_public, roles, member.changed_ms)


class MemberStory:
    """`changed` is a watcher of the membership loop."""

    def __init__(self, events: EventLog, clock: Clock, is_removed: Callable[[NodeId], bool]) -> None:
        self._events = events
        self._clock = clock
        self._is_removed = is_removed
        self._told: dict[NodeId, _Told] = {}  # bounded by the table

    def changed(self, member: Member, before: MemberState | None) -> None:
        node_id = member.record.node_id
        told, now = self._told.get(node_id), _Told.of(member)
        if member.state is MemberState.FORGOTTEN:
            self._told.pop(node_id, None)
        else:
            self._told[node_id] = now
        if member.state is not before:
            verb, reason = self._state_change(member, before, told)
            self._add(member, verb, {"was": "unknown" if before is None else before.value, "reason": reason})
        elif told is not None and now.epoch > told.epoch:
            self._add(member, "restarted", {"reason": f"its agent started again, epoch {now.epoch}"})
        if told is not None and now.curve_public != told.curve_public:
            self._add(member, "key_rotated", {"reason": "its owner took new keys"})
        if told is not None and now.roles != told.roles:
            self._add(member, "roles", {"roles": ",".join(now.roles) or "none"})

    def _add(self, member: Member, verb: str, fields: dict[str, str]) -> None:
        self._events.add(f"member.{verb}", member.record.name, {"id": member.record.node_id} | fields)

    def _state_change(
        self, member: Member, before: MemberState | None, told: _Told | None
    ) -> tuple[str, str]:
        """(verb, reason)"""
        state = member.state
        if member.record.epoch == 0 and before is None:
            return "admitted", "it may join; its agent has not started yet"
        if member.record.epoch == 0 and state in DOWN_STATES:
            return state.value, "its agent has not started yet"
        if state is MemberState.ALIVE:
            return self._alive(member, before, told)
        if state is MemberState.SUSPECT:
            return state.value, self._suspicion(member, before)
        if state is MemberState.LEFT:
            late = before is MemberState.LEAVING
            return state.value, "it did not come back in time" if late else "it said goodbye for good"
        if state is MemberState.FORGOTTEN:
            if self._is_removed(member.record.node_id):
                return "removed", "the fabric removed it; its keys are of no use any more"
            return state.value, "it was gone for so long that only its key is remembered"
        if state is MemberState.AGENT_DOWN and before is MemberState.STALLED and told is not None:
            return state.value, self._stuck(told)
        return state.value, _REASONS[state]

    def _stuck(self, told: _Told) -> str:
        """A stalled agent is down when it has been stalled for long, or when it is killed meanwhile."""
        stalled_s = self._away_s(told)
        if stalled_s >= STUCK_S:
            return f"its agent has not answered for {stalled_s:.0f} s while its machine does: stuck"
        return "its agent was stuck, and has ended now or been so for too long"

    def _away_s(self, told: _Told) -> float:
        return max(0, self._clock.monotonic_ms() - told.changed_ms) / 1_000

    def _alive(self, member: Member, before: MemberState | None, told: _Told | None) -> tuple[str, str]:
        record = member.record
        if before is None or (told is not None and told.epoch == 0):
            return "joined", f"its agent is new here, at {record.endpoint}"
        restarted = told is not None and record.epoch > told.epoch
        again = f", restarted with epoch {record.epoch}" if restarted else ""
        if before is MemberState.SUSPECT:
            if told is not None and record.incarnation > told.incarnation and not restarted:
                return "refuted", f"it answered the accusation with incarnation {record.incarnation}"
            return "alive", f"it was heard{again}"
        away_s = 0.0 if told is None else self._away_s(told)
        word = "down" if before in DOWN_STATES else before.value
        return "alive", f"back after {away_s:.1f} s {word}{again}"

    def _suspicion(self, member: Member, before: MemberState | None) -> str:
        if before is None:
            return "known from before and not heard yet"
        if member.spoke_ms is not None:
            silent_s = max(0, self._clock.monotonic_ms() - member.spoke_ms) / 1_000
            if member.is_linked or silent_s <= SPOKE_LATELY_S:
                return f"it does not answer, its last word was {silent_s:.1f} s ago; its deputies are looking"
        return "others do not reach it; its deputies are looking"

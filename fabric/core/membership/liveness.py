"""What silence means. A pure judgement of one peer from this node's own evidence."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.model import MemberState


@dataclass(slots=True)
class Evidence:
    """All times monotonic, of this node.

    Invariant: both refused times are None, or first <= last and both are after `heard_ms`.
    """

    heard_ms: int  # last sign of life; before the first one: when we learnt of the peer
    has_spoken: bool = False
    refused_first_ms: int | None = None
    refused_last_ms: int | None = None

    def heard(self, now_ms: int) -> None:
        self.heard_ms = now_ms
        self.has_spoken = True
        self.refused_first_ms = self.refused_last_ms = None

    def refused(self, now_ms: int) -> None:
        if self.refused_first_ms is None:
            self.refused_first_ms = now_ms
        self.refused_last_ms = now_ms

    def forgive(self, stalled_ms: int, now_ms: int) -> None:
        """We slept, not the peer: silence we could not have heard through does not count."""
        self.heard_ms = min(now_ms, self.heard_ms + stalled_ms)
        if self.refused_first_ms is not None and self.refused_last_ms is not None:
            self.refused_first_ms = min(now_ms, self.refused_first_ms + stalled_ms)
            self.refused_last_ms = min(now_ms, self.refused_last_ms + stalled_ms)


def judge(evidence: Evidence, now_ms: int, config: MembershipConfig) -> MemberState:
    """ALIVE, SUSPECT, AGENT_DOWN or HOST_DOWN.

    A refusal outweighs silence: it proves the machine lives and the process does not. It counts only
    while it is fresh, else a machine that dies after its agent would seem up for ever; and only with
    some silence, else a peer we cannot dial but still hear would flap. A peer that never spoke to us is
    at best SUSPECT: we have it from hearsay only.
    """
    silent_ms = now_ms - evidence.heard_ms
    if evidence.refused_first_ms is not None and evidence.refused_last_ms is not None:
        is_fresh = now_ms - evidence.refused_last_ms < config.host_down_silence_ms
        grace_over = now_ms - evidence.refused_first_ms >= config.refused_grace_ms
        if is_fresh and grace_over and silent_ms >= config.agent_down_silence_ms:
            return MemberState.AGENT_DOWN
    if silent_ms >= config.host_down_silence_ms:
        return MemberState.HOST_DOWN
    if silent_ms >= config.suspect_silence_ms or not evidence.has_spoken:
        return MemberState.SUSPECT
    return MemberState.ALIVE

"""One open case: who voted what, and how long the accused has to refute."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import log

from proto.ids import NodeId
from proto.membership import Finding, Vote

DOWN_FINDINGS = frozenset({Finding.REFUSED, Finding.SILENT, Finding.STALLED})


def window_ms(confirmations: int, wanted: int, *, low_ms: int, high_ms: int) -> int:
    """How long the accused has to refute, in milliseconds, from the first vote on. Falls from `high_ms` to
    `low_ms` as independent votes confirm; the first confirmation counts most.

    Raises:
        ValueError: `low_ms` exceeds `high_ms`, or `wanted` is below one.

    Source: Lifeguard (2017), "Local Health Aware Suspicion".
    """
    if low_ms > high_ms or wanted < 1:
        raise ValueError(f"need low <= high and wanted >= 1, got {low_ms}, {high_ms}, {wanted}")
    if wanted == 1 or confirmations >= wanted:
        return low_ms
    share = log(max(confirmations, 1)) / log(wanted)
    return max(low_ms, int(high_ms - share * (high_ms - low_ms)))


@dataclass(slots=True, eq=False)
class Case:
    target: NodeId
    epoch: int
    incarnation: int
    opened_ms: int
    last_vote_ms: int
    votes: dict[NodeId, Vote] = field(default_factory=dict)
    is_mine: bool = False  # this node accused, or looked and voted
    mine_ms: int = 0  # when its last vote was cast
    is_doubtful: bool = False  # its votes may be old: this node had just woken when they came
    attempt: int = 0

    def confirming(self) -> list[Vote]:
        return [vote for vote in self.votes.values() if vote.finding in DOWN_FINDINGS]

    def base_finding(self) -> Finding:
        """What most votes say; a refusal outweighs as many silences, for it is evidence and they are none."""
        findings = [vote.finding for vote in self.confirming()]
        order = (Finding.REFUSED, Finding.STALLED, Finding.SILENT)
        return max(order, key=lambda finding: (findings.count(finding), -order.index(finding)))

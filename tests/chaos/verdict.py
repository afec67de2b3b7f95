"""What came of it: nothing acknowledged is lost, no call failed, and all answers fit one order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import median
from typing import Any

from fabric.dev.cloud_client import CloudClient
from tests.chaos.clients import KEYPAIRS, Told
from tests.chaos.names import CREATED, DELETED, Name, name_of
from tests.sim.linearizability import Finding, Operation, Verdict, check


@dataclass(frozen=True, slots=True)
class Outcome:
    calls: int
    unknown: int
    failed: tuple[str, ...]
    finding: Finding
    wrong_at_the_end: tuple[str, ...]
    wait_median_s: float
    wait_worst_s: float

    @property
    def is_good(self) -> bool:
        return (
            not self.failed
            and not self.wrong_at_the_end
            and self.finding.verdict is Verdict.LINEARIZABLE
            and self.calls > 0
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "calls": self.calls,
            "unknown": self.unknown,
            "failed": list(self.failed[:20]),
            "verdict": str(self.finding.verdict),
            "prefix": [str(each) for each in self.finding.prefix][-20:],
            "wrong_at_the_end": list(self.wrong_at_the_end[:20]),
            "wait_median_ms": round(self.wait_median_s * 1_000, 1),
            "wait_worst_ms": round(self.wait_worst_s * 1_000, 1),
        }


def judge(told: Told, cloud: CloudClient) -> Outcome:
    """After the clients have ended. `cloud`: of a node that has caught up."""
    there = {row["keypair"]["name"] for row in cloud.get(f"{KEYPAIRS}?limit=1000")["keypairs"]}
    outputs = Counter(operation.returned == float("inf") for operation in told.history)
    return Outcome(
        calls=len(told.waits_s),
        unknown=outputs[True],
        failed=tuple(told.failed),
        finding=check(told.history, Name(), key_of=name_of),
        wrong_at_the_end=_wrong(told.history, there),
        wait_median_s=median(told.waits_s) if told.waits_s else 0.0,
        wait_worst_s=max(told.waits_s, default=0.0),
    )


def _wrong(history: list[Operation], there: set[str]) -> tuple[str, ...]:
    """Names whose last answered call nothing overlaps, and whose rows say otherwise."""
    wrong = []
    for name in sorted({name_of(operation.input) for operation in history}):
        mine = [operation for operation in history if name_of(operation.input) == name]
        last = max(mine, key=lambda operation: operation.called)
        if any(other is not last and other.returned >= last.called for other in mine):
            continue
        if (last.output == CREATED and name not in there) or (last.output == DELETED and name in there):
            wrong.append(f"{last}, and {name} is {'' if name in there else 'not '}there")
    return tuple(wrong)

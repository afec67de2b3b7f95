"""What came of a run: nothing acknowledged is lost, no call failed, all answers fit one order, all rows are
equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from statistics import median
from typing import Any

from tests.chaos.clients import Heard, Told
from tests.chaos.names import CREATED, DELETED, NOT_THERE, THERE, Look, Name, name_of
from tests.sim.linearizability import UNKNOWN, Finding, Operation, Verdict, check

SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    engine: str
    seed: int
    acts: tuple[str, ...]  # nemeses in their order
    cut_short: str  # why the run ended before its end; "" when it did not
    calls: int
    unknown: int
    lost_by_leave: int  # acknowledged, and only by voters that an operator gave up (`fabric recover`)
    failed: tuple[str, ...]
    finding: Finding
    wrong: tuple[str, ...]  # names, rows, logs, servers, agents that ended: all that must be empty
    servers: int
    wait_median_s: float
    wait_worst_s: float

    @property
    def is_good(self) -> bool:
        is_linearizable = self.finding.verdict is Verdict.LINEARIZABLE
        return is_linearizable and self.calls > 0 and not (self.failed or self.wrong or self.cut_short)

    def as_json(self) -> dict[str, Any]:
        return {
            "good": self.is_good,
            "engine": self.engine,
            "seed": self.seed,
            "acts": list(self.acts),
            "cut_short": self.cut_short,
            "calls": self.calls,
            "unknown": self.unknown,
            "lost_by_leave": self.lost_by_leave,
            "failed": list(self.failed[:SHOWN]),
            "verdict": str(self.finding.verdict),
            "prefix": [str(each) for each in self.finding.prefix][-SHOWN:],
            "wrong": list(self.wrong[:SHOWN]),
            "servers": self.servers,
            "wait_median_ms": round(self.wait_median_s * 1_000, 1),
            "wait_worst_ms": round(self.wait_worst_s * 1_000, 1),
        }


@dataclass(frozen=True, slots=True)
class NamesJudged:
    finding: Finding
    wrong: tuple[str, ...]
    lost_by_leave: int


def judge_names(
    heard: Sequence[Heard], there: set[str], now: float, *, kept: int | None = None
) -> NamesJudged:
    """`there`: the names in the end, looked at `now`, when all clients had ended. `kept`: up to which entry
    a survivor held the log; what was answered from later ones may be lost, so nobody knows whether it was
    done. None: all."""
    history = [_known(each, kept) for each in heard]
    lost = sum(
        one.operation.returned != inf and other.returned == inf
        for one, other in zip(heard, history, strict=True)
    )
    wrong = _wrong(history, there)
    for name in sorted({name_of(operation.input) for operation in history}):
        history.append(Operation("in the end", now, now, Look(name), THERE if name in there else NOT_THERE))
    return NamesJudged(check(history, Name(), key_of=name_of), wrong, lost)


def waits(told: Told) -> tuple[float, float]:
    """The median and the worst, in seconds."""
    return (median(told.waits_s) if told.waits_s else 0.0), max(told.waits_s, default=0.0)


def _known(heard: Heard, kept: int | None) -> Operation:
    operation = heard.operation
    if operation.returned == inf or kept is None or heard.index <= kept:
        return operation
    return Operation(operation.process, operation.called, inf, operation.input, UNKNOWN)


def _wrong(history: list[Operation], there: set[str]) -> tuple[str, ...]:
    """Names whose last answered call nothing overlaps, and whose rows say otherwise: what the checker finds
    too, in words that say what was lost."""
    wrong = []
    for name in sorted({name_of(operation.input) for operation in history}):
        mine = [operation for operation in history if name_of(operation.input) == name]
        last = max(mine, key=lambda operation: operation.called)
        if any(other is not last and other.returned >= last.called for other in mine):
            continue
        if (last.output == CREATED and name not in there) or (last.output == DELETED and name in there):
            wrong.append(f"{last}, and {name} is {'' if name in there else 'not '}there")
    return tuple(wrong)

"""An explanation in few words: how many hosts refuse, for which reason, and which of them come nearest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fabric.core.placement.explain import Explanation, HostVerdict
from fabric.core.placement.filters import Refusal
from fabric.core.placement.no_host import ADVICE_MAX, NoHost

NEAREST_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Of one filter and one reason. `most_free`: of what is counted, over these hosts; None where nothing
    is. `nearest`: those with the fewest other refusals, the nearest first."""

    filter_name: str
    reason: str
    hosts: int
    needed: int | None
    most_free: int | None
    unit: str
    nearest: tuple[tuple[str, Refusal], ...]  # (host's name, what it lacks)


def tallies(verdicts: Iterable[HostVerdict], *, first_only: bool = False) -> tuple[Tally, ...]:
    """Of verdicts as `explain` orders them; the reason that refuses most hosts comes first.

    `first_only`: of each host the first refusal, as the fault of a server counts them; so each host is
    counted once. Else every refusal counts.
    """
    found: dict[tuple[str, str, int | None, str], list[tuple[str, Refusal]]] = {}
    for verdict in verdicts:
        for refusal in verdict.refusals[:1] if first_only else verdict.refusals:
            key = (refusal.filter_name, refusal.reason, refusal.needed, refusal.unit)
            found.setdefault(key, []).append((verdict.host_name, refusal))
    told = [
        Tally(
            filter_name=filter_name,
            reason=reason,
            hosts=len(refused),
            needed=needed,
            most_free=_most_free([refusal for _, refusal in refused]),
            unit=unit,
            nearest=tuple(refused[:NEAREST_TOLD]),
        )
        for (filter_name, reason, needed, unit), refused in found.items()
    ]
    return tuple(sorted(told, key=lambda each: -each.hosts))


def _most_free(refusals: Sequence[Refusal]) -> int | None:
    free = [refusal.free for refusal in refusals if refusal.free is not None]
    return max(0, *free) if free else None


def summary(explanation: Explanation) -> str:
    """For users: on how many hosts it fits, or what the fault of a server would say. Names no host."""
    fitting = sum(not verdict.refusals for verdict in explanation.verdicts)
    if fitting:
        return f"It fits on {fitting} of {len(explanation.verdicts)} hosts."
    refused = NoHost(
        server_id=explanation.request.server_id,
        asked=explanation.request.resources.total(),
        refusals=tuple((verdict.host_name, verdict.refusals[0]) for verdict in explanation.verdicts),
        advice=tuple(each.text for each in explanation.counterfactuals if not each.is_admins)[:ADVICE_MAX],
    )
    return refused.message

"""Why no host was found, for the one who asked and for the one who runs the place."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.placement.claim import Claim
from fabric.core.placement.filters.contract import Refusal
from proto.ids import ServerId

PREFIX = "No valid host was found."  # Nova's words: clients and people search for them
DETAIL_HOSTS_MAX = 100  # one line a host; the rest are counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which filter said no to which host."""

    host_name: str
    refusal: Refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHost:
    """One verdict for each registered host; none when there is no host at all."""

    server_id: ServerId
    claim: Claim
    verdicts: tuple[Verdict, ...]

    @property
    def message(self) -> str:
        """For users: what was asked, and how many hosts lacked what. Names no host."""
        if not self.verdicts:
            return f"{PREFIX} No host is registered."
        kinds: dict[str, list[Refusal]] = {}
        for verdict in self.verdicts:
            kinds.setdefault(verdict.refusal.reason, []).append(verdict.refusal)
        parts = [_kind(reason, refusals) for reason, refusals in kinds.items()]
        claim = self.claim
        asked = f"{claim.vcpus} vCPUs, {claim.memory_mb} MB of memory, {claim.disk_gb} GB of disk"
        return f"{PREFIX} Asked for {asked}: {'; '.join(parts)}."

    @property
    def details(self) -> str:
        """For admins: one line a host."""
        lines = [describe(verdict) for verdict in self.verdicts[:DETAIL_HOSTS_MAX]]
        left_out = len(self.verdicts) - len(lines)
        if left_out:
            lines.append(f"and {left_out} more hosts")
        return "\n".join(lines)


def describe(verdict: Verdict) -> str:
    """ "h2: needs 4096 MB of memory, 1200 MB free (RamFilter)"."""
    refusal = verdict.refusal
    if refusal.needed is None or refusal.free is None:
        return f"{verdict.host_name}: {refusal.remark} ({refusal.filter_name})"
    short_unit = refusal.unit.split(" ", 1)[0]
    free = max(0, refusal.free)
    return (
        f"{verdict.host_name}: needs {refusal.needed} {refusal.unit}, "
        f"{free} {short_unit} free ({refusal.filter_name})"
    )


def _kind(reason: str, refusals: list[Refusal]) -> str:
    hosts = "1 host" if len(refusals) == 1 else f"{len(refusals)} hosts"
    free = [refusal.free for refusal in refusals if refusal.free is not None]
    if not free:
        return f"{hosts}: {reason}"
    unit = refusals[0].unit
    return f"{hosts}: {reason} (needs {refusals[0].needed} {unit}, at most {max(0, *free)} free)"

"""The short form of an explanation: the fault of a server that nobody could take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fabric.core.placement.choose import masks_of
from fabric.core.placement.explain import counterfactuals, first_refusals, nearest
from fabric.core.placement.filters import Refusal
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.policy import Policy
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.resources import DISK_GB, MEMORY_MB, PCPU, VCPU
from proto.ids import ServerId

PREFIX = "No valid host was found."  # Nova's words: clients and people search for them
RETRIED = "Exhausted all hosts available for retrying build failures."  # as Nova says
DETAIL_HOSTS_MAX = 100  # one line a host; the rest are counted
ADVICE_HOSTS = 3  # hosts for which a change is looked for: every server in vain asks
ADVICE_MAX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class NoHost:
    """`refusals`: (host's name, the first refusal), one for each registered host; none when there is no host
    at all. `advice` and `admin_advice`: what would let it fit."""

    server_id: ServerId
    asked: Mapping[str, int]
    refusals: tuple[tuple[str, Refusal], ...]
    failures: tuple[tuple[str, str], ...] = ()
    advice: tuple[str, ...] = ()
    admin_advice: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        """For users: what was asked, how many hosts lacked what, and what they can do. Names no host."""
        if self.failures:
            return f"{RETRIED} The last one: {self.failures[-1][1]}"
        if not self.refusals:
            return f"{PREFIX} No host is registered."
        kinds: dict[str, list[Refusal]] = {}
        for _, refusal in self.refusals:
            kinds.setdefault(refusal.reason, []).append(refusal)
        parts = [_kind(reason, refusals) for reason, refusals in kinds.items()]
        advice = "".join(f" It {text}." for text in self.advice)
        return f"{PREFIX} Asked for {_asked(self.asked)}: {'; '.join(parts)}.{advice}"

    @property
    def details(self) -> str:
        """For admins: one line a host."""
        lines = [describe(name, refusal) for name, refusal in self.refusals[:DETAIL_HOSTS_MAX]]
        left_out = len(self.refusals) - len(lines)
        if left_out:
            lines.append(f"and {left_out} more hosts")
        tried = [f"{name}: the build failed: {said}" for name, said in self.failures]
        return "\n".join([*tried, *lines, *self.advice, *self.admin_advice])


def no_host(request: PlacementRequest, table: HostTable, policy: Policy) -> NoHost:
    """Of a request that nobody can take."""
    masks = masks_of(request, table, policy)
    refusals = first_refusals(request, table, masks)
    found = counterfactuals(request, table, policy, masks, nearest(table, masks, ADVICE_HOSTS))
    return NoHost(
        server_id=request.server_id,
        asked=request.resources.total(),
        refusals=tuple(refusals),
        failures=request.failures,
        advice=tuple(each.text for each in found if not each.is_admins)[:ADVICE_MAX],
        admin_advice=tuple(each.text for each in found if each.is_admins)[:ADVICE_MAX],
    )


def describe(host_name: str, refusal: Refusal) -> str:
    """ "h2: needs 4096 MB of memory, 1200 MB free (RamFilter)"."""
    if refusal.needed is None or refusal.free is None:
        return f"{host_name}: {refusal.remark} ({refusal.filter_name})"
    short_unit = refusal.unit.split(" ", 1)[0]
    free = max(0, refusal.free)
    missing = f"needs {refusal.needed} {refusal.unit}, {free} {short_unit} free"
    return f"{host_name}: {missing} ({refusal.filter_name})"


def _asked(asked: Mapping[str, int]) -> str:
    kinds = ((VCPU, "vCPUs"), (PCPU, "dedicated processors (PCPU)"))
    processors = [f"{asked[name]} {words}" for name, words in kinds if asked.get(name)] or ["0 vCPUs"]
    own = (
        f"{', '.join(processors)}, {asked.get(MEMORY_MB, 0)} MB of memory, {asked.get(DISK_GB, 0)} GB of disk"
    )
    others = [
        f"{amount} {name}" for name, amount in asked.items() if name not in (VCPU, PCPU, MEMORY_MB, DISK_GB)
    ]
    return ", ".join([own, *others])


def _kind(reason: str, refusals: list[Refusal]) -> str:
    hosts = "1 host" if len(refusals) == 1 else f"{len(refusals)} hosts"
    free = [refusal.free for refusal in refusals if refusal.free is not None]
    if not free:
        return f"{hosts}: {reason}"
    unit = refusals[0].unit
    return f"{hosts}: {reason} (needs {refusals[0].needed} {unit}, at most {max(0, *free)} free)"

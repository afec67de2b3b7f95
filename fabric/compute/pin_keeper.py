"""Which of the host's dedicated processors each guest has. Nobody else has any of them.

Nothing of it is stored here: a domain's own definition says which it has, durable with the hypervisor, so
that restarts and hard reboots keep them. What was given to a guest that is not defined yet is remembered
until its domain is removed, or given up; an agent that dies before it is defined has given nothing.

A guest that was given NUMA cells has processors of those, each vCPU of its own node's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from drivers.contract import ComputeDriver, Pins
from fabric.compute.errors import NoProcessorsError
from fabric.compute.processors import HostProcessors
from fabric.compute.siblings import choose_threads
from fabric.core.placement.resources import EMULATOR_POLICY, PCPU
from fabric.core.providers.claims import claims_of
from fabric.core.servers.model import FlavorSnapshot
from fabric.core.topology.model import NOTHING_GIVEN, Grant
from fabric.core.topology.wish import pinned_of
from proto.ids import ServerId


@dataclass(frozen=True, slots=True)
class _Need:
    """So many processors of these. `vcpus`: whose they are; those beyond are the emulator's."""

    count: int
    cpus: frozenset[int]
    vcpus: tuple[int, ...]
    cell_id: int | None = None


class PinKeeper:
    def __init__(self, driver: ComputeDriver, processors: HostProcessors) -> None:
        self._driver = driver
        self._processors = processors
        self._given: dict[ServerId, tuple[int, ...]] = {}
        self._lock = asyncio.Lock()  # between looking what is free and giving it

    @property
    def cpu_set(self) -> tuple[int, ...]:
        """Where guests without processors of their own may run. Empty: anywhere."""
        return tuple(sorted(self._processors.shared))

    async def pins(
        self,
        server_id: ServerId,
        flavor: FlavorSnapshot,
        *,
        grant: Grant = NOTHING_GIVEN,
        threads: str = "prefer",
    ) -> Pins | None:
        """The same as before while they are of the dedicated set; None: the flavor wants none. `threads`:
        Nova's `hw:cpu_thread_policy`.

        Raises: NoProcessorsError, DriverError.
        """
        wanted = claims_of(flavor).get(PCPU, 0)
        if not wanted:
            return None
        pinned = sorted(pinned_of(flavor))
        if wanted < len(pinned):
            raise NoProcessorsError(f"{wanted} dedicated processors are not enough for {len(pinned)} vCPUs")
        needs = self._needs(wanted, pinned, grant)
        async with self._lock:
            held = await self._driver.pinned()
            cpus = self._choose(server_id, needs, held, threads)
            self._given[server_id] = cpus
        return self._divided(cpus, flavor, pinned)

    def release(self, server_id: ServerId) -> None:
        """Its domain is gone, or will not be made."""
        self._given.pop(server_id, None)

    def forget_others(self, ours: Collection[ServerId]) -> None:
        """What was given to servers that are not this host's any more. A guest of theirs that is still there
        has them by its definition."""
        for server_id in [each for each in self._given if each not in ours]:
            del self._given[server_id]

    def _needs(self, wanted: int, pinned: Sequence[int], grant: Grant) -> list[_Need]:
        dedicated = self._processors.dedicated
        if not grant.cells:
            return [_Need(wanted, dedicated, tuple(pinned))]
        cells = {cell.cell_id: cell for cell in self._driver.capabilities().cells}
        needs = []
        for node in grant.cells:
            if node.cell_id not in cells:
                raise NoProcessorsError(f"the host has no NUMA cell {node.cell_id} any more")
            cpus = dedicated.intersection(cells[node.cell_id].cpus)
            own = tuple(vcpu for vcpu in node.vcpus if vcpu in pinned)
            needs.append(_Need(node.dedicated, cpus, own, node.cell_id))
        return needs

    def _choose(
        self, server_id: ServerId, needs: Sequence[_Need], held: Mapping[ServerId, Pins], threads: str
    ) -> tuple[int, ...]:
        """By vCPU, and then what the emulator has for itself."""
        dedicated = self._processors.dedicated
        others = [_all(pins) for other, pins in held.items() if other != server_id]
        others += [cpus for other, cpus in self._given.items() if other != server_id]
        free = dedicated.difference(*others)
        before = self._given.get(server_id) or _all(held.get(server_id, Pins()))
        kept = tuple(cpu for cpu in before if cpu in dedicated)  # not the shared ones of its emulator
        if free.issuperset(kept) and _suit(kept, needs):
            return kept
        cores = [core for cell in self._driver.capabilities().cells for core in cell.cores]
        by_vcpu: dict[int, int] = {}
        beyond: list[int] = []
        for need in needs:
            left = free & need.cpus
            chosen = choose_threads(left, cores, need.count, threads)
            if chosen is None:
                raise NoProcessorsError(_short(need, left, threads))
            free -= set(chosen)
            by_vcpu |= dict(zip(need.vcpus, chosen, strict=False))
            beyond += chosen[len(need.vcpus) :]
        return (*(by_vcpu[vcpu] for vcpu in sorted(by_vcpu)), *beyond)

    def _divided(self, cpus: Sequence[int], flavor: FlavorSnapshot, pinned: Sequence[int]) -> Pins:
        """One for each vCPU that has one. The emulator's own threads have what is left; or the shared ones,
        where the flavor says so, or its other vCPUs are there, and there are some; or those of the vCPUs. As
        Nova's `hw:emulator_threads_policy`."""
        vcpus, rest = tuple(cpus[: len(pinned)]), tuple(cpus[len(pinned) :])
        shares = flavor.extra_specs.get(EMULATOR_POLICY) == "share" or len(pinned) < flavor.vcpus
        if not rest and shares:
            rest = self.cpu_set
        of = tuple(pinned) if len(pinned) < flavor.vcpus else ()
        return Pins(vcpus=vcpus, of=of, emulator=rest or vcpus)


def _all(pins: Pins) -> tuple[int, ...]:
    """Each once, those of vCPUs first."""
    return tuple(dict.fromkeys((*pins.vcpus, *pins.emulator)))


def _suit(cpus: Sequence[int], needs: Sequence[_Need]) -> bool:
    """Whether they are what is needed, by vCPU and then the emulator's."""
    vcpus = sorted(vcpu for need in needs for vcpu in need.vcpus)
    if len(cpus) != sum(need.count for need in needs):
        return False
    given = dict(zip(vcpus, cpus, strict=False))
    at_home = all(given[vcpu] in need.cpus for need in needs for vcpu in need.vcpus)
    return at_home and all(cpu in needs[0].cpus for cpu in cpus[len(vcpus) :])


def _short(need: _Need, left: Collection[int], threads: str) -> str:
    where = "the host's" if need.cell_id is None else f"NUMA cell {need.cell_id}'s"
    like = f" (hw:cpu_thread_policy={threads})" if len(left) >= need.count else ""
    return f"{need.count} dedicated processors wanted{like}, {len(left)} of {where} {len(need.cpus)} free"

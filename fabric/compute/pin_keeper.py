"""Which of the host's dedicated processors each guest has. Nobody else has any of them.

Nothing of it is stored here: a domain's own definition says which it has, durable with the hypervisor, so
that restarts and hard reboots keep them. What was given to a guest that is not defined yet is remembered
until its domain is removed, or given up; an agent that dies before it is defined has given nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence

from drivers.contract import ComputeDriver, Pins
from fabric.compute.errors import NoProcessorsError
from fabric.compute.processors import HostProcessors
from fabric.core.placement.resources import EMULATOR_POLICY, PCPU
from fabric.core.providers.claims import claims_of
from fabric.core.servers.model import FlavorSnapshot
from proto.ids import ServerId


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

    async def pins(self, server_id: ServerId, flavor: FlavorSnapshot) -> Pins | None:
        """The same as before while they are of the dedicated set; None: the flavor wants none.

        Raises: NoProcessorsError, DriverError.
        """
        wanted = claims_of(flavor).get(PCPU, 0)
        if not wanted:
            return None
        if wanted < flavor.vcpus:
            raise NoProcessorsError(f"{wanted} dedicated processors are not enough for {flavor.vcpus} vCPUs")
        async with self._lock:
            held = await self._driver.pinned()
            cpus = self._choose(server_id, wanted, held)
            self._given[server_id] = cpus
        return self._divided(cpus, flavor)

    def release(self, server_id: ServerId) -> None:
        """Its domain is gone, or will not be made."""
        self._given.pop(server_id, None)

    def forget_others(self, ours: Collection[ServerId]) -> None:
        """What was given to servers that are not this host's any more. A guest of theirs that is still there
        has them by its definition."""
        for server_id in [each for each in self._given if each not in ours]:
            del self._given[server_id]

    def _choose(self, server_id: ServerId, wanted: int, held: Mapping[ServerId, Pins]) -> tuple[int, ...]:
        dedicated = self._processors.dedicated
        others = [_all(pins) for other, pins in held.items() if other != server_id]
        others += [cpus for other, cpus in self._given.items() if other != server_id]
        free = dedicated.difference(*others)
        before = self._given.get(server_id) or _all(held.get(server_id, Pins()))
        kept = tuple(cpu for cpu in before if cpu in dedicated)  # not the shared ones of its emulator
        if len(kept) == wanted and free.issuperset(kept):
            return kept
        if len(free) < wanted:
            raise NoProcessorsError(
                f"{wanted} dedicated processors wanted, {len(free)} of the host's {len(dedicated)} free"
            )
        return tuple(sorted(free)[:wanted])

    def _divided(self, cpus: Sequence[int], flavor: FlavorSnapshot) -> Pins:
        """One for each vCPU. The emulator's own threads have what is left, or the shared ones where the
        flavor says so and there are some, or those of the vCPUs. As Nova's `hw:emulator_threads_policy`."""
        vcpus, rest = tuple(cpus[: flavor.vcpus]), tuple(cpus[flavor.vcpus :])
        if not rest and flavor.extra_specs.get(EMULATOR_POLICY) == "share":
            rest = self.cpu_set
        return Pins(vcpus=vcpus, emulator=rest or vcpus)


def _all(pins: Pins) -> tuple[int, ...]:
    """Each once, those of vCPUs first."""
    return tuple(dict.fromkeys((*pins.vcpus, *pins.emulator)))

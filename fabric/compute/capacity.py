"""What this host offers: the registered row, and the live record it gossips."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from drivers.contract import Capabilities
from fabric.compute.processors import HostProcessors
from fabric.core.membership.model import Capacity
from fabric.core.placement.claim import Claim
from fabric.core.providers.claims import claims_of, own_claim
from fabric.core.servers.model import AssignedServer
from fabric.errors import CommandRejectedError, ConfigError, FabricError
from fabric.runtime.hard_state import HardState
from proto.commands.nodes import HostRegister
from proto.ids import NodeId, new_request_id

log = logging.getLogger(__name__)

RETRY_S = 0.5
RETRY_S_MAX = 10.0
UNDIVIDED = HostProcessors()
CHECK_S = 30.0  # memory is added, a hypervisor is upgraded: rare, and nobody waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class HostIdentity:
    node_id: NodeId
    name: str
    address: str
    zone: str
    version: str  # of our software


@dataclass(frozen=True, slots=True, kw_only=True)
class Allocation:
    """How much more than the real thing may be claimed, in thousandths. Defaults are Nova's old ones."""

    cpu_ratio_milli: int = 16_000
    memory_ratio_milli: int = 1_500
    disk_ratio_milli: int = 1_000
    reserved_memory_mb: int = 0

    def __post_init__(self) -> None:
        if min(self.cpu_ratio_milli, self.memory_ratio_milli, self.disk_ratio_milli) <= 0:
            raise ConfigError("allocation ratios must be above 0")
        if self.reserved_memory_mb < 0:
            raise ConfigError("reserved_memory_mb must not be negative")


def host_register(
    who: HostIdentity, offers: Capabilities, allocation: Allocation, processors: HostProcessors = UNDIVIDED
) -> HostRegister:
    return HostRegister(
        host_id=who.node_id,
        name=who.name,
        address=who.address,
        zone=who.zone,
        hypervisor_type=offers.hypervisor_type,
        hypervisor_version=offers.hypervisor_version,
        arch=offers.arch,
        vcpus=processors.vcpus(offers),
        memory_mb=offers.memory_mb,
        disk_gb=offers.disk_gb,
        cpu_ratio_milli=allocation.cpu_ratio_milli,
        memory_ratio_milli=allocation.memory_ratio_milli,
        disk_ratio_milli=allocation.disk_ratio_milli,
        reserved_memory_mb=allocation.reserved_memory_mb,
        version=who.version,
    )


def live_capacity(
    offers: Capabilities, servers: Iterable[AssignedServer], processors: HostProcessors = UNDIVIDED
) -> Capacity:
    """Uses are claims, as the scheduler counts them, not what guests have touched so far. Dedicated
    processors are not in `vcpus_used`."""
    used, count = Claim(), 0
    for assigned in servers:
        used = used.plus(own_claim(claims_of(assigned.server.flavor)))
        count += 1
    return Capacity(
        vcpus=processors.vcpus(offers),
        memory_mb=offers.memory_mb,
        disk_gb=offers.disk_gb,
        vcpus_used=used.vcpus,
        memory_mb_used=used.memory_mb,
        disk_gb_used=used.disk_gb,
        servers=count,
        load_milli=int(os.getloadavg()[0] * 1000),
        hypervisor=offers.hypervisor_type,
    )


class Registrar:
    """Keeps the host's row true: registers at start, and again when what it offers changes."""

    def __init__(
        self,
        state: HardState,
        command: Callable[[], HostRegister],
        *,
        check_s: float = CHECK_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self._state = state
        self._command = command
        self._check_s = check_s
        self._retry_s = retry_s
        self.registered = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        accepted: HostRegister | None = None
        while True:
            command = self._command()
            if command != accepted:
                await self._register(command)
                accepted = command
                self.registered.set()
            await asyncio.sleep(self._check_s)

    async def _register(self, command: HostRegister) -> None:
        """Until it is accepted. A refusal (a name another node holds, a certificate without the right)
        may be put right by an admin, so it is repeated too, under a new id."""
        request_id = new_request_id()
        delay_s = self._retry_s
        while True:
            try:
                await self._state.propose(command, request_id=request_id)
                log.info("host registered", extra={"node": command.host_id, "host": command.name})
                return
            except CommandRejectedError as error:
                request_id = new_request_id()
                log.error("host refused", extra={"host": command.name, "reason": error.message})
                delay_s = RETRY_S_MAX
            except FabricError as error:
                log.warning("host not registered yet", extra={"code": error.code, "error": str(error)})
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, RETRY_S_MAX)

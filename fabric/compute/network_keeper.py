"""Which servers' ports are wired on this host, and one `apply` for all who ask at once.

The plug takes the whole host's plan each time. Builds that reach their port step together therefore
share an apply: each bumps the version, the first through the lock applies for all, the others find
their version done.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Protocol

from fabric.compute.assignments import Assignments
from fabric.compute.network_plan import host_plan
from fabric.core.servers.model import AssignedServer
from netplug.contract import HostPlan, NetPlug, PluggedPort, PortsRefusedError
from proto.errors import NetPlugError
from proto.ids import NetworkId, PortId, ServerId

log = logging.getLogger(__name__)

ATTEMPTS_MAX = 3  # a kernel that is busy (EBUSY, a dnsmasq still starting) is not yet a failure
RETRY_S = 0.2
APPLY_TIMEOUT_S = 120.0  # a plan for hundreds of ports takes seconds; this is a plug that hangs


class MetadataPorts(Protocol):
    async def ensure_listener(self, network_id: NetworkId) -> int: ...

    async def keep_only(self, network_ids: frozenset[NetworkId]) -> None: ...


class NetworkKeeper:
    def __init__(
        self,
        plug: NetPlug,
        assignments: Assignments,
        metadata: MetadataPorts,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        self._plug = plug
        self._assignments = assignments
        self._metadata = metadata
        self._retry_s = retry_s
        self._members: set[ServerId] = set()
        self._version = 0
        self._done_version = 0
        self._lock = asyncio.Lock()
        self._applied: HostPlan | None = None  # None: unknown what the kernel holds
        self._plugged: dict[PortId, PluggedPort] = {}
        self._refused: dict[PortId, str] = {}

    @property
    def members(self) -> frozenset[ServerId]:
        return frozenset(self._members)

    def adopt(self, server_ids: Iterable[ServerId]) -> None:
        """These have a guest here: their ports belong in the plan. Applied by the next `refresh`."""
        self._members.update(server_ids)

    def drop(self, server_ids: Iterable[ServerId]) -> None:
        """These have nothing here any more. Applied by the next `refresh`."""
        self._members.difference_update(server_ids)

    async def plug(self, server_id: ServerId) -> tuple[PluggedPort, ...]:
        """Wires the server's ports; devices in NIC order. Raises NetPlugError naming what failed."""
        assigned = self._assignments.row(server_id)
        if assigned is None:
            raise NetPlugError(f"server {server_id} is not assigned to this host any more")
        if not assigned.ports:
            return ()
        self._members.add(server_id)
        await self._converge()
        devices = []
        for port in assigned.ports:
            device = self._plugged.get(port.port_id)
            if device is None:
                why = self._refused.get(port.port_id, "the plug did not return it")
                raise NetPlugError(f"port {port.port_id}: {why}")
            devices.append(device)
        return tuple(devices)

    async def unplug(self, server_id: ServerId) -> None:
        """Nothing of the server's ports is left, and its networks go with the last. Raises NetPlugError."""
        self._members.discard(server_id)
        if self._applied is None or any(port.server_id == server_id for port in self._applied.ports):
            await self._converge()

    async def refresh(self, *, is_forced: bool = False) -> None:
        """Applies the rows as they are now, when they differ from what was applied. Raises NetPlugError."""
        async with self._lock:
            if (
                is_forced
                or self._applied is None
                or self._plan(self._ports_of(self._applied)) != self._applied
            ):
                self._version += 1
                await self._apply_patiently()

    async def _converge(self) -> None:
        """An apply that began after this call has succeeded."""
        self._version += 1
        wanted = self._version
        async with self._lock:
            if self._done_version < wanted:
                await self._apply_patiently()

    async def _apply_patiently(self) -> None:
        """Under the lock. Raises NetPlugError."""
        for attempt in range(1, ATTEMPTS_MAX + 1):
            version = self._version
            try:
                await self._apply()
                self._done_version = version
                return
            except NetPlugError as error:
                if attempt == ATTEMPTS_MAX:
                    raise
                log.warning("network plan not applied", extra={"attempt": attempt, "error": str(error)})
            await asyncio.sleep(self._retry_s)

    async def _apply(self) -> None:
        ports: dict[str, int] = {}
        try:
            for network_id in sorted(self._networks()):
                ports[network_id] = await self._metadata.ensure_listener(NetworkId(network_id))
        except OSError as error:
            raise NetPlugError(f"no metadata listener: {error}") from error
        plan = self._plan(ports)
        refused: dict[PortId, str] = {}
        self._applied = None  # failed or cancelled from here on, nobody knows what the kernel holds
        try:
            async with asyncio.timeout(APPLY_TIMEOUT_S):
                plugged = await self._plug.apply(plan)
        except TimeoutError as error:
            raise NetPlugError(f"the plug did not answer within {APPLY_TIMEOUT_S:.0f} s") from error
        except PortsRefusedError as error:
            plugged = error.plugged
            refused = {entry.port_id: entry.reason for entry in error.refused}
            log.warning("ports refused", extra={"error": str(error)})
        self._applied = plan
        self._plugged = {entry.port_id: entry for entry in plugged}
        self._refused = refused
        await self._metadata.keep_only(frozenset(network.network_id for network in plan.networks))

    def _rows(self) -> list[AssignedServer]:
        rows = [self._assignments.row(server_id) for server_id in sorted(self._members)]
        return [row for row in rows if row is not None]

    def _networks(self) -> set[str]:
        return {network.network_id for row in self._rows() for network in row.networks}

    def _plan(self, metadata_ports: Mapping[str, int]) -> HostPlan:
        return host_plan(
            self._rows(),
            security_groups=self._assignments.security_groups,
            group_addresses=self._assignments.group_addresses,
            metadata_ports=metadata_ports,
        )

    @staticmethod
    def _ports_of(plan: HostPlan) -> dict[str, int]:
        return {
            str(network.network_id): network.metadata_port
            for network in plan.networks
            if network.metadata_port is not None
        }

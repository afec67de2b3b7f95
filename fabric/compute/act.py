"""What users ask of a server that exists: start, stop, reboot; and taking one down."""

from __future__ import annotations

from drivers.contract import ComputeDriver, DomainState, Power
from fabric.compute.build_server import ServerBuilder, step
from fabric.compute.network_keeper import NetworkKeeper
from fabric.compute.notes import Notes
from fabric.compute.pin_keeper import PinKeeper
from fabric.compute.unbroken import unbroken
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.states import TaskState
from proto.ids import ServerId


class ServerActs:
    """Each raises StepFailedError."""

    def __init__(
        self,
        *,
        driver: ComputeDriver,
        network: NetworkKeeper,
        builder: ServerBuilder,
        notes: Notes,
        pins: PinKeeper,
        stop_grace_ms: int,
        cancel_grace_s: float,
    ) -> None:
        self._driver = driver
        self._network = network
        self._builder = builder
        self._notes = notes
        self._pins = pins
        self._stop_grace_ms = stop_grace_ms
        self._cancel_grace_s = cancel_grace_s

    async def start(self, assigned: AssignedServer) -> DomainState:
        return await self._builder.start(assigned)

    async def stop(self, server_id: ServerId) -> DomainState:
        async with step("stop"):
            return await unbroken(
                self._driver.ensure_stopped(server_id, grace_ms=self._stop_grace_ms),
                grace_s=self._cancel_grace_s,
            )

    async def leave(self, assigned: AssignedServer, domain: DomainState | None) -> DomainState:
        """Off, if it was not. One that has no domain has nothing to be stopped."""
        if domain is None:
            return DomainState(server_id=assigned.server.server_id, power=Power.SHUTDOWN, pid=None)
        return await self.stop(assigned.server.server_id)

    async def reboot(self, assigned: AssignedServer, domain: DomainState | None) -> DomainState:
        """Once for each generation: it is noted on disk when it is done. Killed between doing and noting,
        the agent does it again, for a reboot too many loses less than one too few. Without a domain,
        what is meant is a boot."""
        server = assigned.server
        if domain is None:
            return await self._builder.start(assigned)
        async with step("reboot"):
            done_generation = (await self._notes.read(server.server_id)).reboot_generation
        if done_generation >= server.action_generation:
            return await self._builder.start(assigned)  # leaves it alone when it runs
        hard = server.task_state is TaskState.REBOOTING_HARD
        state = await self._builder.reboot(assigned, hard=hard, grace_ms=self._stop_grace_ms)
        async with step("reboot"):
            await self._notes.write_reboot(server.server_id, server.action_generation)
        return state

    async def take_down(self, server_id: ServerId) -> None:
        """No domain, disk, port or file of the server is left. The guest goes first: nothing may run on
        a port that is gone."""
        async with step("domain"):
            await unbroken(self._driver.ensure_absent(server_id), grace_s=self._cancel_grace_s)
        async with step("ports"):
            await unbroken(self._network.unplug(server_id), grace_s=self._cancel_grace_s)
        self._pins.release(server_id)
        async with step("files"):
            await self._notes.forget(server_id)

"""Guests on their way from this host."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from drivers.contract import OnProgress, OtherHost, Power
from drivers.libvirt.connection import Connection, MigrationTarget
from drivers.libvirt.disks import ServerDirectory, write_mark
from drivers.libvirt.domain_xml import domain_name
from drivers.libvirt.doors import DISKS, LIBVIRT, MEMORY, Sockets, SourceDoors
from drivers.libvirt.incoming import Landing
from drivers.libvirt.migration_xml import for_destination
from proto.errors import DriverError
from proto.ids import ServerId

log = logging.getLogger(__name__)

POLL_S = 0.3
ABORT_S = 10.0  # libvirt aborts within a second; after this its connection to the other host is cut, too


class Departures:
    def __init__(self, connection: Connection, host_root: Path) -> None:
        self._connection, self._host_root = connection, host_root
        self.qemu_owner: tuple[int, int] | None = None  # user and group, once the driver is open
        self._under_way: set[ServerId] = set()
        self._aborted: set[ServerId] = set()
        self._forced: set[ServerId] = set()

    async def migrate(
        self,
        where: ServerDirectory,
        landing: Landing,
        other: OtherHost,
        bandwidth_mib_s: int,
        on_progress: OnProgress,
    ) -> None:
        """Called with the server's lock held."""
        name = domain_name(where.server_id)
        if await self._connection.power(name) not in (Power.RUNNING, Power.PAUSED):
            raise DriverError(f"server {where.server_id} does not run here")
        sockets = Sockets(landing.token, self._host_root, self.qemu_owner)
        destination = await self._destination(name, landing, sockets, bandwidth_mib_s)
        doors = SourceDoors(sockets, other)
        self._under_way.add(where.server_id)
        try:
            await asyncio.to_thread(sockets.make)
            await asyncio.to_thread(write_mark, where.leaving, b"")
            await doors.open()
            await self._leave(where, name, destination, doors, on_progress)
        finally:
            await doors.close()
            sockets.remove()
            for servers in (self._under_way, self._aborted, self._forced):
                servers.discard(where.server_id)
        self._connection.forget(where.server_id)

    async def abort(self, server_id: ServerId) -> None:
        if server_id in self._under_way:
            self._aborted.add(server_id)
            await self._connection.abort_job(domain_name(server_id))

    async def force(self, server_id: ServerId) -> None:
        if server_id not in self._under_way:
            raise DriverError(f"no migration of server {server_id} is under way here")
        self._forced.add(server_id)
        await self._connection.suspend(domain_name(server_id))

    async def _destination(
        self, name: str, landing: Landing, sockets: Sockets, bandwidth_mib_s: int
    ) -> MigrationTarget:
        described = await self._connection.migratable(name)
        if described is None:
            raise DriverError(f"domain {name} is not here")
        running, lasting = (for_destination(text, landing.domain) for text in described)
        return MigrationTarget(
            uri=f"qemu+unix:///system?socket={sockets.name(LIBVIRT)}",
            memory_uri="unix://" + sockets.name(MEMORY),
            disks_uri="unix://" + sockets.name(DISKS),
            running_xml=running,
            lasting_xml=lasting,
            bandwidth_mib_s=bandwidth_mib_s,
        )

    async def _leave(
        self,
        where: ServerDirectory,
        name: str,
        destination: MigrationTarget,
        doors: SourceDoors,
        on_progress: OnProgress,
    ) -> None:
        leaving = asyncio.ensure_future(self._connection.migrate(name, destination))
        try:
            while not leaving.done():
                await asyncio.wait({leaving}, timeout=POLL_S)
                await self._look(where.server_id, name, leaving, on_progress)
        except asyncio.CancelledError:
            await self._give_up(name, leaving, doors)
            await self._settle(where, name, leaving)
            raise
        failure = await self._settle(where, name, leaving)
        if failure is not None:
            raise DriverError(f"domain {name} did not leave: {failure}") from failure

    async def _look(
        self, server_id: ServerId, name: str, leaving: asyncio.Future[None], on_progress: OnProgress
    ) -> None:
        try:
            if server_id in self._aborted and not leaving.done():
                await self._connection.abort_job(name)
            progress = await self._connection.migration_progress(name)
        except DriverError as error:  # libvirtd went: so will the migration's own call
            log.debug("no progress known", extra={"server": server_id, "reason": str(error)})
            return
        if progress is not None:
            on_progress(progress)

    async def _give_up(self, name: str, leaving: asyncio.Future[None], doors: SourceDoors) -> None:
        try:
            async with asyncio.timeout(ABORT_S):
                await self._connection.abort_job(name)
                await asyncio.wait({leaving})
        except (DriverError, TimeoutError):
            await doors.close()
            await asyncio.wait({leaving}, timeout=ABORT_S)

    async def _settle(
        self, where: ServerDirectory, name: str, leaving: asyncio.Future[None]
    ) -> BaseException | None:
        """What went wrong; None when the guest has left, whatever libvirt said: its last word may be lost."""
        failure = leaving.exception() if leaving.done() else TimeoutError("libvirt does not end it")
        power = await self._connection.power(name)
        if power is None:
            return None
        if power is Power.PAUSED and where.server_id in self._forced:
            await self._connection.resume(name)
        if leaving.done():
            where.leaving.unlink(missing_ok=True)
        return failure or DriverError("libvirt has it here still")

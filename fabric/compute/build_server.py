"""From an assigned row to a running guest: image, drive, processors, ports, domain; each with its undo.

Every step is an end state, so a build that died anywhere is simply done again. Undo runs when a step
*fails*. A cancelled build undoes nothing: its successor (a delete, or this agent after a restart)
finds the pieces and either uses or removes them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from drivers.contract import ComputeDriver, DomainSpec, DomainState, Power
from fabric.compute.carry import DiskCarrier
from fabric.compute.domain_spec import domain_spec
from fabric.compute.errors import BuildGivenUpError, ImageError, StepFailedError
from fabric.compute.guest_nodes import grant_of, guest_nodes
from fabric.compute.image_cache import ImageCache, base_format
from fabric.compute.network_keeper import NetworkKeeper
from fabric.compute.notes import BootFiles, Notes
from fabric.compute.pin_keeper import PinKeeper
from fabric.compute.unbroken import unbroken
from fabric.core.placement.resources import thread_policy
from fabric.core.servers.guest_limits import guest_limits
from fabric.core.servers.model import AssignedServer
from fabric.core.servers.states import Desired
from netplug.contract import PluggedPort
from proto.errors import FabricError, HypervisorAwayError
from proto.ids import ServerId

log = logging.getLogger(__name__)

UNDO_TIMEOUT_S = 60.0
MakeConfigDrive = Callable[[AssignedServer], bytes]  # runs in a thread


class ServerBuilder:
    def __init__(
        self,
        *,
        driver: ComputeDriver,
        network: NetworkKeeper,
        images: ImageCache,
        notes: Notes,
        pins: PinKeeper,
        carrier: DiskCarrier,
        make_config_drive: MakeConfigDrive,
        system_version: str,
        cancel_grace_s: float,
        boot_slots: asyncio.Semaphore,
    ) -> None:
        """`boot_slots`: how many guests may be booting at once. Images, drives and ports of others are
        made ready meanwhile."""
        self._driver = driver
        self._network = network
        self._images = images
        self._notes = notes
        self._pins = pins
        self._carrier = carrier
        self._make_config_drive = make_config_drive
        self._system_version = system_version
        self._cancel_grace_s = cancel_grace_s
        self._boot_slots = boot_slots

    async def build(
        self, assigned: AssignedServer, domain: DomainState | None, *, is_arriving: bool = False
    ) -> DomainState:
        """The first boot here. On failure nothing of the server is left (see StepFailedError.step). One that
        `is_arriving` comes from another host, which keeps its disks, and is started only if it is to run."""
        server_id = assigned.server.server_id
        await self._need_not_given_up(assigned)
        if await self._end_former_stay(assigned):
            domain = None
        async with AsyncExitStack() as undo:
            try:
                undo.push_async_callback(self._notes.forget, server_id)
                if domain is not None and domain.power is Power.RUNNING:
                    await self._plug(assigned)  # built already: the report got lost, not the guest
                    undo.pop_all()
                    return domain
                boot = await self._boot_files(assigned, is_arriving=is_arriving)
                drive = await self._config_drive(assigned)
                undo.callback(self._pins.release, server_id)
                undo.push_async_callback(self._network.unplug, server_id)
                spec = await self._spec(assigned, boot, drive)
                undo.push_async_callback(self._driver.ensure_absent, server_id)
                if is_arriving:
                    async with step("disks"):
                        await self._carrier.bring(assigned, spec)
                is_to_run = not is_arriving or assigned.server.desired is Desired.RUNNING
                state = await self._run(spec) if is_to_run else _off(server_id)
            except StepFailedError as error:
                is_undone = await self._undo(undo.pop_all(), assigned)
                if is_undone and not isinstance(error.cause, HypervisorAwayError):  # that one is waited for
                    error.left_nothing = await self._give_up(assigned)
                raise
            except BaseException:  # cancelled, or a bug: leave the pieces to whoever comes next
                undo.pop_all()
                raise
            undo.pop_all()
            return state

    async def receive(self, assigned: AssignedServer) -> bytes:
        """All is ready for a guest that comes while it runs: what the driver says of that, for its source. On
        failure nothing of it is left."""
        server_id = assigned.server.server_id
        await self._end_former_stay(assigned)
        async with AsyncExitStack() as undo:
            try:
                undo.push_async_callback(self._notes.forget, server_id)
                boot = await self._boot_files(assigned, is_arriving=True)
                drive = await self._config_drive(assigned)
                undo.callback(self._pins.release, server_id)
                undo.push_async_callback(self._network.unplug, server_id)
                spec = await self._spec(assigned, boot, drive)
                undo.push_async_callback(self._driver.cancel_incoming, server_id)
                async with step("domain"):
                    landing = await unbroken(
                        self._driver.prepare_incoming(spec), grace_s=self._cancel_grace_s
                    )
            except StepFailedError:
                await self._undo(undo.pop_all(), assigned)
                raise
            except BaseException:  # cancelled, or a bug: as in `build`
                undo.pop_all()
                raise
            undo.pop_all()
            return landing

    async def start(self, assigned: AssignedServer) -> DomainState:
        """Boots a server that exists. Failing, it leaves disk and definition as they were."""
        boot = await self._boot_files(assigned)
        return await self._run(await self._spec(assigned, boot, await self._config_drive(assigned)))

    async def reboot(self, assigned: AssignedServer, *, hard: bool, grace_ms: int) -> DomainState:
        boot = await self._boot_files(assigned)
        spec = await self._spec(assigned, boot, await self._config_drive(assigned))
        async with step("reboot"), self._boot_slots:
            return await unbroken(
                self._driver.reboot(spec, hard=hard, grace_ms=grace_ms), grace_s=self._cancel_grace_s
            )

    async def _run(self, spec: DomainSpec) -> DomainState:
        async with step("domain"), self._boot_slots:
            return await unbroken(self._driver.ensure_running(spec), grace_s=self._cancel_grace_s)

    async def _plug(self, assigned: AssignedServer) -> tuple[PluggedPort, ...]:
        async with step("ports"):
            return await unbroken(self._network.plug(assigned.server.server_id), grace_s=self._cancel_grace_s)

    async def _note(self, assigned: AssignedServer, boot: BootFiles) -> None:
        async with step("images"):
            await self._notes.write_boot(assigned.server.server_id, boot)

    async def _spec(self, assigned: AssignedServer, boot: BootFiles, drive: bytes | None) -> DomainSpec:
        """Gives it processors of its own, if it wants any, and wires the ports; meanwhile notes the boot
        files: durable before the domain exists, so that a guest can be defined afresh without its image.
        Both have ended when this returns or raises."""
        async with step("limits"):
            limits = guest_limits(assigned.server.flavor.extra_specs)
        async with step("processors"):
            grant, flavor = grant_of(assigned), assigned.server.flavor
            nodes = guest_nodes(grant, self._driver.capabilities().cells, self._pins.cpu_set)
            pins = await self._pins.pins(
                assigned.server.server_id,
                flavor,
                grant=grant,
                threads=thread_policy(flavor.extra_specs, assigned.image_properties),
            )
        plugged, noted = await asyncio.gather(
            self._plug(assigned), self._note(assigned, boot), return_exceptions=True
        )
        for outcome in (plugged, noted):
            if isinstance(outcome, BaseException):
                raise outcome
        assert isinstance(plugged, tuple)
        return domain_spec(
            assigned,
            boot=boot,
            plugged=plugged,
            config_drive=drive,
            system_version=self._system_version,
            pins=pins,
            cpu_set=self._pins.cpu_set,
            nodes=nodes,
            devices=tuple(device.address for device in grant.devices),
            limits=limits,
        )

    async def _boot_files(self, assigned: AssignedServer, *, is_arriving: bool = False) -> BootFiles:
        """What the guest was made from while that is there, else what its image is now: unless its disks come
        from another host, and are built on something else."""
        async with step("images"):
            noted = (await self._notes.read(assigned.server.server_id)).boot
            if assigned.is_from_shelf:
                noted = await self._of_this_shelf(assigned, noted)
            if noted is not None and await asyncio.to_thread(_all_present, noted):
                return noted
            base = await self._carrier.base(assigned) if is_arriving else None
            if base is None:
                base = await self._from_image(assigned)
            kernels = (assigned.kernel, assigned.ramdisk)
            paths = [await self._images.ensure(each) if each is not None else None for each in kernels]
            return replace(base, kernel_path=paths[0], ramdisk_path=paths[1])

    async def _from_image(self, assigned: AssignedServer) -> BootFiles:
        if assigned.image is None:
            raise ImageError(f"image {assigned.server.image_id} does not exist any more")
        kind = base_format(assigned.image)
        return BootFiles(base_path=await self._images.ensure(assigned.image), base_format=kind)

    async def _end_former_stay(self, assigned: AssignedServer) -> bool:
        """Of a server that comes by a move: what is here by none or by another one is of a stay whose end
        this host has missed. It would be taken for what is to come, so it goes, guest and all; whether it did
        so. That is noted before anything comes in, and what a killed life of this host brought is kept."""
        move, server_id = assigned.move, assigned.server.server_id
        if move is None:
            return False
        async with step("disks"):
            if (await self._notes.read(server_id)).move_id == move.move_id:
                return False
            await unbroken(self._driver.ensure_absent(server_id), grace_s=self._cancel_grace_s)
            await self._notes.write_move(server_id, move.move_id)
        return True

    async def _of_this_shelf(self, assigned: AssignedServer, noted: BootFiles | None) -> BootFiles | None:
        """What is here of a server that is built from what it was shelved to, if that is from this building.
        Files of a former stay, which this host missed the end of, would bring back an older disk: they go."""
        if assigned.image is None:
            raise ImageError("the image that it was shelved to does not exist any more")
        if noted is not None and noted.base_path == self._images.path_of(assigned.image):
            return noted
        await unbroken(self._driver.ensure_absent(assigned.server.server_id), grace_s=self._cancel_grace_s)
        return None

    async def _config_drive(self, assigned: AssignedServer) -> bytes | None:
        if not assigned.server.config_drive:
            return None
        async with step("config drive"):
            return await asyncio.to_thread(self._make_config_drive, assigned)

    async def _undo(self, undo: AsyncExitStack, assigned: AssignedServer) -> bool:
        """Whether all of it was undone. As far as it goes: the build's own error is the one to report. What
        stays is found by the next look at the driver, and by the plug's next apply."""
        try:
            async with asyncio.timeout(UNDO_TIMEOUT_S):
                await undo.aclose()
        except (FabricError, OSError, TimeoutError) as error:
            log.warning(
                "undo left something", extra={"server": assigned.server.server_id, "error": str(error)}
            )
            return False
        return True

    async def _give_up(self, assigned: AssignedServer) -> bool:
        """False: that could not be made durable, so a later life may build it after all."""
        server = assigned.server
        try:
            await self._notes.write_given_up(server.server_id, server.action_generation)
        except OSError as error:
            log.warning("note not written", extra={"server": server.server_id, "error": str(error)})
            return False
        return True

    async def forget_others(self, ours: Collection[ServerId]) -> None:
        """What is noted of servers that have nothing to do here any more, and what builds of theirs that
        never ended were given: asked after an answer that names all that have. Raises OSError."""
        self._pins.forget_others(ours)
        await self._notes.forget_others(ours)

    async def _need_not_given_up(self, assigned: AssignedServer) -> None:
        async with step("images"):
            note = await self._notes.read(assigned.server.server_id)
        if note.given_up_generation >= assigned.server.action_generation:
            error = StepFailedError("build", BuildGivenUpError("it failed before the agent was restarted"))
            error.left_nothing = True
            raise error


@asynccontextmanager
async def step(name: str) -> AsyncIterator[None]:
    """Names the step in whatever expected error it ends with."""
    try:
        yield
    except (FabricError, OSError, ValueError) as error:
        raise StepFailedError(name, error) from error


def _off(server_id: ServerId) -> DomainState:
    """Its files are here; a domain is made of them when it is started."""
    return DomainState(server_id=server_id, power=Power.SHUTDOWN, pid=None)


def _all_present(boot: BootFiles) -> bool:
    return all(Path(path).exists() for path in (boot.base_path, boot.kernel_path, boot.ramdisk_path) if path)

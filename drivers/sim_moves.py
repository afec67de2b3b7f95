"""Live migration as the simulated driver does it: a guest is its disk, its console, and its count of boots.

One pipe, door "guest": the source sends all of it and the end, the destination answers ARRIVED once it runs
there. Marks beside the domain's file say, as the real driver's do, that a guest has left or not come yet.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from drivers.contract import DomainSpec, MigrationProgress, OnProgress, OtherHost, Pins, Pipe
from drivers.sim_files import as_driver_error, replace_file
from proto.errors import DriverError
from proto.ids import ServerId

DOOR = "guest"
ARRIVED = b"arrived"
LANDING = b"sim"
GUEST_BYTES_MAX = 1 << 20
STEPS = 20
STEP_MS_MAX = 1_000  # however slow a migration is, it is told of
MEMORY_BYTES = 64 << 20  # what every simulated guest has to send


@dataclass(frozen=True, slots=True, kw_only=True)
class Guests:
    """What a driver lets its moves do."""

    where: Callable[[ServerId], Path]
    has_domain: Callable[[ServerId], bool]
    make_disks: Callable[[DomainSpec], None]
    pack: Callable[[ServerId], bytes]  # raises DriverError: it does not run
    unpack: Callable[[ServerId, bytes, Pins | None, Mapping[str, int]], None]


class SimMoves:
    def __init__(self, guests: Guests, migrate_ms: int) -> None:
        self._guests = guests
        self._migrate_ms = migrate_ms
        self._pipes: dict[ServerId, set[Pipe]] = {}
        self._under_way: dict[ServerId, asyncio.Event] = {}  # set: aborted
        self._forced: set[ServerId] = set()

    def check_presence(self, server_id: ServerId) -> None:
        """Raises DriverError when the guest is not here, although files of it are."""
        if self._guests.has_domain(server_id):
            self._arriving(server_id).unlink(missing_ok=True)
        elif self._arriving(server_id).exists():
            raise DriverError(f"the guest of server {server_id} has not arrived from its other host yet")
        elif self.has_left(server_id):
            raise DriverError(f"the guest of server {server_id} has left for another host")

    def has_left(self, server_id: ServerId) -> bool:
        return self._leaving(server_id).exists() and not self._guests.has_domain(server_id)

    # -- at the destination

    def prepare(self, spec: DomainSpec, limits: Mapping[str, int]) -> bytes:
        server_id, where = spec.server_id, self._guests.where(spec.server_id)
        if self._guests.has_domain(server_id):
            raise DriverError(f"server {server_id} has a domain here already")
        marks = (self._arriving(server_id), self._leaving(server_id))
        if (where / "root.disk").exists() and not any(mark.exists() for mark in marks):
            raise DriverError(f"server {server_id} has a disk here already")
        self._close_pipes(server_id)
        with as_driver_error(where):
            where.mkdir(exist_ok=True)
            pins = None if spec.pins is None else [spec.pins.vcpus, spec.pins.emulator]
            expected = {"pins": pins, "limits": dict(limits)}
            replace_file(self._arriving(server_id), json.dumps(expected).encode())
            for path in where.iterdir():
                if path != self._arriving(server_id):
                    path.unlink()
        self._guests.make_disks(dataclasses.replace(spec, has_booted=False))
        return LANDING

    async def serve(self, server_id: ServerId, door: str, pipe: Pipe) -> None:
        pipes = self._pipes.setdefault(server_id, set())
        pipes.add(pipe)
        try:
            if door != DOOR:
                raise DriverError("no such door")
            if not self._arriving(server_id).exists():
                raise DriverError(f"server {server_id}: nothing is prepared here")
            guest = await _read_all(pipe)
            if pipe not in pipes or not self._arriving(server_id).exists():
                raise DriverError(f"server {server_id}: nothing is prepared here any more")
            expected = json.loads(self._arriving(server_id).read_bytes())
            pins = expected["pins"]
            kept = None if pins is None else Pins(vcpus=tuple(pins[0]), emulator=tuple(pins[1]))
            self._guests.unpack(server_id, guest, kept, expected["limits"])
            await pipe.write(ARRIVED)
            await pipe.write_eof()
        except ConnectionError:
            return
        finally:
            pipe.close()
            pipes.discard(pipe)
            if not pipes and self._pipes.get(server_id) is pipes:
                del self._pipes[server_id]

    def finish(self, server_id: ServerId) -> None:
        if not self._guests.has_domain(server_id):
            raise DriverError(f"the guest of server {server_id} has not arrived")
        self._arriving(server_id).unlink(missing_ok=True)

    def cancel(self, server_id: ServerId) -> None:
        self._close_pipes(server_id)
        if not self._guests.has_domain(server_id) and self._arriving(server_id).exists():
            with as_driver_error(self._guests.where(server_id)):
                shutil.rmtree(self._guests.where(server_id))

    # -- at the source

    async def migrate(
        self, server_id: ServerId, landing: bytes, other: OtherHost, on_progress: OnProgress
    ) -> None:
        if landing != LANDING:
            raise DriverError("the other host's driver is of another kind")
        self._guests.pack(server_id)
        aborted = self._under_way[server_id] = asyncio.Event()
        replace_file(self._leaving(server_id), b"")
        has_left = False
        try:
            await self._send_memory(server_id, aborted, on_progress)
            has_left = await self._send_guest(server_id, other)
            if not has_left:
                raise DriverError(
                    f"server {server_id} did not leave: the other host does not say that it arrived"
                )
            (self._guests.where(server_id) / "domain.json").unlink(missing_ok=True)
        finally:
            if not has_left:
                self._leaving(server_id).unlink(missing_ok=True)
            del self._under_way[server_id]
            self._forced.discard(server_id)

    def abort(self, server_id: ServerId) -> None:
        if server_id in self._under_way:
            self._under_way[server_id].set()

    def force(self, server_id: ServerId) -> None:
        if server_id not in self._under_way:
            raise DriverError(f"no migration of server {server_id} is under way here")
        self._forced.add(server_id)

    async def _send_memory(
        self, server_id: ServerId, aborted: asyncio.Event, on_progress: OnProgress
    ) -> None:
        """Takes its time, unless it is forced."""
        steps = max(STEPS, self._migrate_ms // STEP_MS_MAX)
        for step in range(steps + 1):
            done = MEMORY_BYTES * step // steps
            on_progress(
                MigrationProgress(
                    memory_total=MEMORY_BYTES,
                    memory_processed=done,
                    memory_remaining=MEMORY_BYTES - done,
                )
            )
            if self._migrate_ms and step < steps and server_id not in self._forced:
                await asyncio.sleep(self._migrate_ms / steps / 1000)
            if aborted.is_set():
                raise DriverError(f"server {server_id} did not leave: aborted")

    async def _send_guest(self, server_id: ServerId, other: OtherHost) -> bool:
        try:
            pipe = await other.connect(DOOR)
        except ConnectionError as error:
            raise DriverError(f"server {server_id} did not leave: {error}") from error
        try:
            await pipe.write(self._guests.pack(server_id))
            await pipe.write_eof()
            return await _read_all(pipe) == ARRIVED
        except ConnectionError as error:
            raise DriverError(f"server {server_id} did not leave: {error}") from error
        finally:
            pipe.close()

    def _close_pipes(self, server_id: ServerId) -> None:
        for pipe in self._pipes.pop(server_id, set()):
            pipe.close()

    def _arriving(self, server_id: ServerId) -> Path:
        return self._guests.where(server_id) / "arriving"

    def _leaving(self, server_id: ServerId) -> Path:
        return self._guests.where(server_id) / "leaving"


async def _read_all(pipe: Pipe) -> bytes:
    """Raises ConnectionError, also for more than a guest can be."""
    data = bytearray()
    while part := await pipe.read():
        data += part
        if len(data) > GUEST_BYTES_MAX:
            raise ConnectionError("more than a simulated guest")
    return bytes(data)

"""The only file that imports `libvirt`: blocking calls in threads of our own, events, re-connection.

libvirt's event loop runs in one daemon thread of the process, because without one there is no keep-alive: a
libvirtd that hangs is then noticed after `KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT` seconds, and the call
that waits for it fails instead of holding its thread for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import libvirt

from drivers.contract import MigrationProgress, Power
from drivers.libvirt.domain_xml import METADATA_NAMESPACE, owner_of, server_of
from proto.errors import DriverError, HypervisorAwayError
from proto.ids import ServerId

log = logging.getLogger(__name__)

THREADS = 4
MIGRATIONS_MAX = 4  # under way at once: each holds a thread of its own
CALL_TIMEOUT_S = 90.0  # creating a domain took up to 5 s on a machine with four times more work than cores
KEEPALIVE_INTERVAL_S = 5
KEEPALIVE_COUNT = 4

_POWER = {
    libvirt.VIR_DOMAIN_RUNNING: Power.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: Power.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: Power.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: Power.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: Power.RUNNING,  # on its way down, its process still there
    libvirt.VIR_DOMAIN_SHUTOFF: Power.SHUTDOWN,
    libvirt.VIR_DOMAIN_CRASHED: Power.CRASHED,
}
_UNDEFINE_EVERYTHING = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)
_MIGRATE = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_NON_SHARED_INC
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
)
T = TypeVar("T")
_event_loop_lock = threading.Lock()
_event_loop: threading.Thread | None = None


@dataclass(frozen=True, slots=True)
class FoundDomain:
    """One of our domains as libvirt knows it."""

    server_id: ServerId
    name: str
    power: Power
    owner: str  # the directory of the driver that made it; empty when its metadata does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationTarget:
    """Where a domain goes, and as what. URIs are those of `doors.py`."""

    uri: str  # of the other libvirtd
    memory_uri: str
    disks_uri: str
    running_xml: str
    lasting_xml: str
    bandwidth_mib_s: int  # 0: no bound


class Connection:
    """A libvirt connection that finds its way back after libvirtd was restarted.

    Every method may be called from any task, none blocks the event loop, all raise DriverError only. A call
    that met a dead connection is made once more on a new one; so only calls that may be repeated are here.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._threads: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._virt: libvirt.virConnect | None = None
        self._owners: dict[ServerId, str] = {}
        self._migrating: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        await self._call(lambda virt: virt.getLibVersion())

    async def close(self) -> None:
        threads, self._threads = self._threads, None
        migrating, self._migrating = self._migrating, None
        if migrating is not None:
            migrating.shutdown(wait=False, cancel_futures=True)
        if threads is None:
            return
        with contextlib.suppress(DriverError):
            await self._in_thread(threads, self._disconnect)
        threads.shutdown(wait=False, cancel_futures=True)

    async def hypervisor(self) -> tuple[str, int, str]:
        """Its type ("QEMU"), version as one number, and the host's name."""
        return await self._call(
            lambda virt: (str(virt.getType()), int(virt.getVersion()), str(virt.getHostname()))
        )

    async def capabilities_xml(self) -> str:
        return await self._call(lambda virt: str(virt.getCapabilities()))

    async def domains(self) -> tuple[FoundDomain, ...]:
        """Every domain whose name is of ours, whoever made it."""
        return await self._call(self._list)

    async def descriptions(self, names: Collection[str]) -> dict[str, str]:
        """The domains' XML: of one that runs as it runs, else as it would start. Without those that are not
        there any more."""

        def describe(virt: libvirt.virConnect) -> dict[str, str]:
            return {d.name(): d.XMLDesc() for d in virt.listAllDomains() if d.name() in names}

        return await self._call(describe)

    async def power(self, name: str) -> Power | None:
        """None: no such domain."""
        return await self._on(name, lambda domain: _POWER.get(domain.state()[0], Power.CRASHED))

    async def define(self, xml: str) -> None:
        """Defines the domain, or replaces the definition it has."""
        await self._call(lambda virt: virt.defineXML(xml).name())

    async def try_out(self, xml: str) -> None:
        """Starts a domain without letting it run, and ends it; it goes with the connection whatever happens.
        Raises DriverError: libvirt would not."""

        def come_and_go(virt: libvirt.virConnect) -> None:
            flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
            virt.createXML(xml, flags).destroy()

        await self._call(come_and_go)

    async def start(self, name: str) -> None:
        """Success also when it runs already. Raises DriverError when it is not defined."""
        started = await self._on(name, _start)
        if started is None:
            raise DriverError(f"domain {name} is not defined")

    async def resume(self, name: str) -> None:
        await self._on(name, lambda domain: _tolerate(domain.resume, libvirt.VIR_ERR_OPERATION_INVALID))

    async def press_power_button(self, name: str) -> None:
        """Asks the guest by ACPI to shut down; it may not listen. Success also when it is off."""
        flags = libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN
        invalid = libvirt.VIR_ERR_OPERATION_INVALID
        await self._on(
            name, lambda domain: _tolerate(functools.partial(domain.shutdownFlags, flags), invalid)
        )

    async def destroy(self, name: str) -> None:
        """Ends the guest's process. Success also when it is off or unknown."""
        await self._on(name, _destroy)

    async def undefine(self, name: str) -> None:
        """Removes the definition with all that libvirt keeps beside it. Success also when there is none."""
        invalid = libvirt.VIR_ERR_OPERATION_INVALID  # a transient domain: it goes when it ends
        undefine = _UNDEFINE_EVERYTHING
        await self._on(
            name, lambda domain: _tolerate(functools.partial(domain.undefineFlags, undefine), invalid)
        )

    # -- live migration

    async def is_lasting(self, name: str) -> bool:
        """Whether it has a definition that outlives its process: one that is on its way in has none yet."""
        return bool(await self._on(name, lambda domain: domain.isPersistent()))

    async def migratable(self, name: str) -> tuple[str, str] | None:
        """The domain's XML as it runs and as it is defined, both as another host may take them."""
        flag = libvirt.VIR_DOMAIN_XML_MIGRATABLE

        def describe(domain: libvirt.virDomain) -> tuple[str, str]:
            return domain.XMLDesc(flag), domain.XMLDesc(flag | libvirt.VIR_DOMAIN_XML_INACTIVE)

        return await self._on(name, describe)

    async def migrate(self, name: str, destination: MigrationTarget) -> None:
        """Blocks a thread of its own until the guest has left, whatever our caller does meanwhile: who gives
        up must `abort_job` and await this. Raises DriverError."""

        def leave() -> None:
            virt = self._connected()
            try:
                domain = virt.lookupByName(name)
                domain.migrateToURI3(destination.uri, _parameters_of(destination), _MIGRATE)
            except libvirt.libvirtError as error:
                if not _is_alive(virt):
                    raise HypervisorAwayError(f"libvirt: {error.get_error_message() or error}") from error
                raise

        if self._migrating is None:
            self._migrating = ThreadPoolExecutor(MIGRATIONS_MAX, thread_name_prefix="libvirt-migration")
        try:
            await asyncio.get_running_loop().run_in_executor(self._migrating, leave)
        except libvirt.libvirtError as error:
            raise DriverError(f"libvirt: {error.get_error_message() or error}") from error

    async def migration_progress(self, name: str) -> MigrationProgress | None:
        """None: no such domain, or nothing is under way."""
        return await self._on(name, _progress)

    async def abort_job(self, name: str) -> None:
        """Success also when nothing is under way."""
        await self._on(name, lambda domain: _tolerate(domain.abortJob, libvirt.VIR_ERR_OPERATION_INVALID))

    async def suspend(self, name: str) -> None:
        await self._on(name, lambda domain: domain.suspend())

    def forget(self, server_id: ServerId) -> None:
        """Its owner may be another one when next we meet a domain of this id."""
        self._owners.pop(server_id, None)

    # -- in our threads

    def _list(self, virt: libvirt.virConnect) -> tuple[FoundDomain, ...]:
        found = []
        for domain in virt.listAllDomains():
            server_id = server_of(domain.name())
            if server_id is None:
                continue
            try:
                power = _POWER.get(domain.state()[0], Power.CRASHED)
                owner = self._owner(server_id, domain)
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    continue  # it went while we looked
                raise
            found.append(FoundDomain(server_id, domain.name(), power, owner))
        known = {domain.server_id for domain in found}
        self._owners = {server_id: owner for server_id, owner in self._owners.items() if server_id in known}
        return tuple(found)

    def _owner(self, server_id: ServerId, domain: libvirt.virDomain) -> str:
        if server_id not in self._owners:
            try:
                text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, METADATA_NAMESPACE)
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    raise
                text = ""
            self._owners[server_id] = owner_of(text)
        return self._owners[server_id]

    async def _on(self, name: str, action: Callable[[libvirt.virDomain], T]) -> T | None:
        """What `action` returns for the named domain; None when there is no such domain."""

        def look_up_and_act(virt: libvirt.virConnect) -> T | None:
            try:
                return action(virt.lookupByName(name))
            except libvirt.libvirtError as error:
                if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                    return None
                raise

        return await self._call(look_up_and_act)

    async def _call(self, action: Callable[[libvirt.virConnect], T]) -> T:
        if self._threads is None:
            raise DriverError(f"the connection to {self._uri} is not open")
        return await self._in_thread(self._threads, functools.partial(self._with_connection, action))

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await loop.run_in_executor(threads, work)
        except TimeoutError as error:
            raise DriverError(f"libvirt at {self._uri} gave no answer in {CALL_TIMEOUT_S:.0f} s") from error
        except libvirt.libvirtError as error:
            raise DriverError(f"libvirt: {error.get_error_message() or error}") from error

    def _with_connection(self, action: Callable[[libvirt.virConnect], T]) -> T:
        virt = self._connected()
        try:
            return action(virt)
        except libvirt.libvirtError:
            if _is_alive(virt):
                raise
        log.warning("libvirt connection lost, connecting again", extra={"uri": self._uri})
        with self._lock:
            if self._virt is virt:
                self._virt = None
        virt = self._connected()
        try:
            return action(virt)
        except libvirt.libvirtError as error:
            if _is_alive(virt):
                raise
            raise HypervisorAwayError(f"libvirt: {error.get_error_message() or error}") from error

    def _connected(self) -> libvirt.virConnect:
        with self._lock:
            if self._virt is None:
                _ensure_event_loop()
                try:
                    self._virt = libvirt.open(self._uri)
                except libvirt.libvirtError as error:
                    raise HypervisorAwayError(f"libvirt: {error.get_error_message() or error}") from error
                # Drivers inside our own process (embed, test) have no connection to keep alive.
                with contextlib.suppress(libvirt.libvirtError):
                    self._virt.setKeepAlive(KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT)
            return self._virt

    def _disconnect(self) -> None:
        with self._lock:
            virt, self._virt = self._virt, None
        if virt is not None:
            virt.close()


def _parameters_of(destination: MigrationTarget) -> dict[str, str | int]:
    parameters: dict[str, str | int] = {
        libvirt.VIR_MIGRATE_PARAM_URI: destination.memory_uri,
        libvirt.VIR_MIGRATE_PARAM_DISKS_URI: destination.disks_uri,
        libvirt.VIR_MIGRATE_PARAM_DEST_XML: destination.running_xml,
        libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: destination.lasting_xml,
    }
    if destination.bandwidth_mib_s:
        parameters[libvirt.VIR_MIGRATE_PARAM_BANDWIDTH] = destination.bandwidth_mib_s
    return parameters


def _progress(domain: libvirt.virDomain) -> MigrationProgress | None:
    try:
        told = domain.jobStats()
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:  # it has just ended
            return None
        raise
    fields = {f"{kind}_{what}": int(told.get(f"{kind}_{what}", 0))
              for kind in ("memory", "disk") for what in ("total", "processed", "remaining")}  # fmt: skip
    return MigrationProgress(**fields) if any(fields.values()) else None


def _start(domain: libvirt.virDomain) -> bool:
    try:
        domain.create()
    except libvirt.libvirtError as error:
        # "Already running" has no code of its own.
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID or not domain.isActive():
            raise
    return True


def _destroy(domain: libvirt.virDomain) -> None:
    """Gracefully, so that QEMU flushes its disks; then without mercy."""
    invalid = libvirt.VIR_ERR_OPERATION_INVALID
    try:
        _tolerate(functools.partial(domain.destroyFlags, libvirt.VIR_DOMAIN_DESTROY_GRACEFUL), invalid)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            raise
        _tolerate(domain.destroy, invalid)


def _tolerate(action: Callable[[], object], code: int) -> None:
    try:
        action()
    except libvirt.libvirtError as error:
        if error.get_error_code() != code:
            raise


def _is_alive(virt: libvirt.virConnect) -> bool:
    """Asks the daemon itself: `isAlive` alone may not have noticed yet that the socket is closed."""
    try:
        return bool(virt.isAlive()) and virt.getLibVersion() > 0
    except libvirt.libvirtError:
        return False


def _ensure_event_loop() -> None:
    global _event_loop
    with _event_loop_lock:
        if _event_loop is None:
            libvirt.virEventRegisterDefaultImpl()
            libvirt.registerErrorHandler(_ignore_error, None)
            _event_loop = threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True)
            _event_loop.start()


def _run_event_loop() -> None:
    while True:
        libvirt.virEventRunDefaultImpl()


def _ignore_error(context: object, error: object) -> None:
    """libvirt prints errors to stderr by default; we get each as an exception and say it once."""

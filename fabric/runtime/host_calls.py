"""Asking hosts directly: console logs and cached images for the API, and nudges after decisions that concern
a host.

A nudge says "look at your rows", nothing more. Losing one costs a host's resync interval, so they are
sent without retry, at most one in flight to each host.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from fabric.core.networks.queries import GetPort
from fabric.core.servers.model import ImageSource
from fabric.core.servers.queries import GetServer
from fabric.errors import FabricError, RemoteError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import AppliedEntry, HardState
from fabric.runtime.hosts import MigrationView
from proto.codec import Plain
from proto.commands import Command
from proto.commands import networks as net
from proto.commands.nodes import HostUpdate
from proto.commands.servers import (
    ServerAct,
    ServerCreate,
    ServerExpire,
    ServerPlace,
    ServerRemoved,
    ServerUpdate,
)
from proto.ids import NodeId, PortId, ServerId
from proto.records import to_wire

log = logging.getLogger(__name__)

CONSOLE_LOG = "host.console_log"
NUDGE = "host.nudge"
CACHE_IMAGES = "host.cache_images"
MIGRATION = "host.migration"
MIGRATION_TIMEOUT_MS = 2_000
CONSOLE_BYTES_MAX = 100 * 1024  # what Nova keeps of a console (`MAX_CONSOLE_BYTES`)
CONSOLE_TIMEOUT_MS = 10_000
NUDGE_TIMEOUT_MS = 2_000
CACHE_TIMEOUT_MS = 2_000  # to hear of it, not to do it

# Rules on any host may name a group, an address or a network that changed.
_CONCERNS_ALL = (
    ServerRemoved,
    net.PortDelete,
    net.SecurityGroupUpdate,
    net.SecurityRuleCreate,
    net.SecurityRuleDelete,
    net.NetworkUpdate,
    net.SubnetCreate,
    net.SubnetUpdate,
    net.SubnetDelete,
)


class RpcHostCalls:
    """Implements `fabric.runtime.hosts.HostCalls`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def console_log(self, host_id: NodeId, server_id: ServerId, *, lines: int | None) -> str:
        """See the contract. Bytes that are not UTF-8 are replaced: guests print what they like."""
        answer = await self._rpc.call(
            host_id,
            CONSOLE_LOG,
            {"server_id": server_id, "bytes_max": CONSOLE_BYTES_MAX},
            timeout_ms=CONSOLE_TIMEOUT_MS,
        )
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, bytes) or len(data) > CONSOLE_BYTES_MAX:
            raise RemoteError("fabric.host.bad_answer", "the host's answer is not a console log")
        return tail(data.decode("utf-8", errors="replace"), lines)

    async def migration(self, host_id: NodeId, server_id: ServerId) -> MigrationView | None:
        """See the contract."""
        answer = await self._rpc.call(
            host_id, MIGRATION, {"server_id": server_id}, timeout_ms=MIGRATION_TIMEOUT_MS
        )
        if not isinstance(answer, dict) or not answer:
            return None
        names = [field.name for field in fields(MigrationView)]
        numbers = {name: value for name in names if type(value := answer.get(name)) is int}
        return MigrationView(**numbers)

    async def cache_images(self, host_id: NodeId, sources: Sequence[ImageSource]) -> None:
        """See the contract."""
        body: dict[str, Plain] = {"images": [to_wire(each) for each in sources]}
        await self._rpc.call(host_id, CACHE_IMAGES, body, timeout_ms=CACHE_TIMEOUT_MS)


def tail(text: str, lines: int | None) -> str:
    """The last `lines` lines, all for None; a line that is not ended yet counts."""
    if lines is None or lines < 0:
        return text
    if lines == 0:
        return ""
    return "".join(text.splitlines(keepends=True)[-lines:])


@dataclass(frozen=True, slots=True, kw_only=True)
class NudgeConfig:
    calls_max: int = 64  # in flight over all hosts
    lookups_max: int = 10_000  # servers and ports whose host is still to be read; more means: nudge all
    lazy_ms: int = 500  # changes that concern every host wait this long for company


class HostNudger:
    """Runs beside the conductor's state; `subscribe` tells it what was applied."""

    def __init__(self, state: HardState, rpc: Rpc, fleet: Fleet, config: NudgeConfig | None = None) -> None:
        self._state = state
        self._rpc = rpc
        self._fleet = fleet
        self._config = config or NudgeConfig()
        self._hosts: set[NodeId] = set()  # to be nudged; bounded by the fleet
        self._in_flight: set[NodeId] = set()
        self._servers: OrderedDict[ServerId, None] = OrderedDict()  # whose host must be read first
        self._ports: OrderedDict[PortId, None] = OrderedDict()
        self._host_of: OrderedDict[ServerId, NodeId] = OrderedDict()  # a cache, bounded by lookups_max
        self._is_all_due = False
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        unsubscribe = self._state.subscribe(self._on_applied)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._all_hosts_loop())
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    try:
                        await self._resolve()
                    except FabricError as error:
                        log.warning("nudge lookup failed", extra={"code": error.code})
                    self._send_due(group)
        finally:
            unsubscribe()

    def _on_applied(self, entry: AppliedEntry) -> None:
        command = entry.command
        moving: Any = entry.applied.result.get("hosts", ())  # both ends of a server's move
        self._hosts.update(moving)
        if moving:
            self._host_of.pop(_server_of(command), None)
            self._wake.set()
        if isinstance(command, ServerPlace):
            self._remember(command.server_id, command.host_id)
            self._hosts.add(command.host_id)
        elif isinstance(command, HostUpdate):
            self._hosts.add(command.host_id)
        elif isinstance(command, ServerAct | ServerUpdate | ServerExpire):
            host_id = self._host_of.get(command.server_id)
            if host_id is not None:
                self._hosts.add(host_id)
            else:
                self._servers[command.server_id] = None
        elif isinstance(command, net.PortUpdate):
            self._ports[command.port_id] = None
        elif _concerns_all(command):
            self._is_all_due = True
            return
        else:
            return
        if len(self._servers) + len(self._ports) > self._config.lookups_max:
            self._servers.clear()
            self._ports.clear()
            self._is_all_due = True
        self._wake.set()

    def _remember(self, server_id: ServerId, host_id: NodeId) -> None:
        self._host_of[server_id] = host_id
        self._host_of.move_to_end(server_id)
        while len(self._host_of) > self._config.lookups_max:
            self._host_of.popitem(last=False)

    async def _resolve(self) -> None:
        """Turns servers and ports into hosts, by reading."""
        while self._servers:
            server_id, _ = self._servers.popitem(last=False)
            view = await self._state.read(GetServer(server_id=server_id))
            if view is not None and view.server.host_id is not None:
                self._remember(server_id, view.server.host_id)
                self._hosts.add(view.server.host_id)
        while self._ports:
            port_id, _ = self._ports.popitem(last=False)
            port = await self._state.read(GetPort(port_id=port_id))
            if port is not None and port.host_id is not None:
                self._hosts.add(port.host_id)
                self._is_all_due = True  # its groups' addresses may have changed for the others

    async def _all_hosts_loop(self) -> None:
        while True:
            await asyncio.sleep(self._config.lazy_ms / 1000)
            if self._is_all_due:
                self._is_all_due = False
                self._hosts.update(member.record.node_id for member in self._fleet.members())
                self._wake.set()

    def _send_due(self, group: asyncio.TaskGroup) -> None:
        for host_id in sorted(self._hosts):
            if host_id in self._in_flight:
                continue  # its answer sets the wake-up again
            if len(self._in_flight) >= self._config.calls_max:
                return
            self._hosts.discard(host_id)
            if self._fleet.is_alive(host_id):
                self._in_flight.add(host_id)
                group.create_task(self._nudge(host_id))

    async def _nudge(self, host_id: NodeId) -> None:
        try:
            await self._rpc.call(host_id, NUDGE, {}, timeout_ms=NUDGE_TIMEOUT_MS)
        except FabricError as error:
            log.debug("nudge lost", extra={"node": host_id, "code": error.code})
        except Exception:
            log.exception("nudge failed unexpectedly", extra={"node": host_id})
        finally:
            self._in_flight.discard(host_id)
            if self._hosts:
                self._wake.set()


def _server_of(command: Command) -> ServerId:
    server_id: ServerId = getattr(command, "server_id", ServerId(""))
    return server_id


def _concerns_all(command: Command) -> bool:
    """New or freed addresses change what "remote group" means on every host."""
    if isinstance(command, ServerCreate):
        return bool(command.new_ports or command.existing_port_ids)
    if isinstance(command, net.PortCreate):
        return bool(command.port.security_group_ids)
    return isinstance(command, _CONCERNS_ALL)

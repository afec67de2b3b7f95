"""What this host says of its servers: reports that end in the log, exactly once."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from hashlib import blake2b

from drivers.contract import DomainState
from fabric.compute.decide import power_state_of
from fabric.compute.save_root import SavedRoot
from fabric.core.servers.model import Server
from fabric.errors import CommandRejectedError, FabricError
from fabric.runtime.hard_state import HardState, derive_request_id
from proto.commands import Command, encode_command
from proto.commands.moves import MoveArrived, MoveRunning
from proto.commands.servers import ServerObserved, ServerRemoved
from proto.commands.shelving import ServerShelved
from proto.ids import NodeId, RequestId

log = logging.getLogger(__name__)

MESSAGE_CHARACTERS_MAX = 1_000
DETAILS_CHARACTERS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig:
    retry_ms: int = 100
    retry_ms_max: int = 5_000


class Reporter:
    """Reports until they are answered. A report for a generation that is no longer asked for is refused
    by `apply` (`stale`), so retrying for as long as the conductor is away is safe; the task that
    reports ends with its server's next work, or with the agent."""

    def __init__(self, state: HardState, host_id: NodeId, config: ReportConfig | None = None) -> None:
        self._state = state
        self._host_id = host_id
        self._config = config or ReportConfig()

    async def done(self, server: Server, domain: DomainState | None) -> bool:
        """The work of the server's action generation is done. False: nobody wants to know any more."""
        return await self._report(
            server,
            ServerObserved(
                server_id=server.server_id,
                host_id=self._host_id,
                generation=server.action_generation,
                power_state=power_state_of(domain).value,
            ),
            f"observed/{server.action_generation}",
        )

    async def failed(
        self,
        server: Server,
        domain: DomainState | None,
        message: str,
        details: str,
        *,
        left_nothing: bool = False,
    ) -> bool:
        """`left_nothing`: of a build, which this host has given up for good."""
        return await self._report(
            server,
            ServerObserved(
                server_id=server.server_id,
                host_id=self._host_id,
                generation=server.action_generation,
                power_state=power_state_of(domain).value,
                fault_message=message[:MESSAGE_CHARACTERS_MAX],
                fault_details=details[:DETAILS_CHARACTERS_MAX],
                left_nothing=left_nothing,
            ),
            f"observed/{server.action_generation}",
        )

    async def moved(self, server: Server, domain: DomainState | None) -> bool:
        """The guest changed its power state by itself."""
        return await self._report(
            server,
            ServerObserved(
                server_id=server.server_id,
                host_id=self._host_id,
                generation=None,
                power_state=power_state_of(domain).value,
            ),
            f"moved/{server.generation}",
        )

    async def shelved(self, server: Server, root: SavedRoot) -> bool:
        """Its disk is an image, in this node's hands."""
        return await self._report(
            server,
            ServerShelved(
                server_id=server.server_id,
                host_id=self._host_id,
                generation=server.action_generation,
                size_bytes=root.blob.size_bytes,
                virtual_bytes=root.virtual_bytes,
                md5=root.blob.md5,
                sha256=root.blob.sha256,
                sha512=root.blob.sha512,
            ),
            f"shelved/{server.action_generation}",
        )

    async def removed(self, server: Server) -> bool:
        return await self._report(
            server,
            ServerRemoved(server_id=server.server_id, host_id=self._host_id),
            f"removed/{server.action_generation}",
        )

    async def running(self, server: Server, move_id: str) -> None:
        """Memory of a live move begins to cross. Said once: nothing depends on it."""
        command = MoveRunning(move_id=move_id, server_id=server.server_id, host_id=self._host_id)
        try:
            await self._state.propose(
                command, request_id=report_request_id(server, command, f"running/{server.action_generation}")
            )
        except FabricError as error:
            log.info("start of a migration not noted", extra={"server": server.server_id, "code": error.code})

    async def arrived(self, server: Server, move_id: str) -> bool:
        """A live move has ended here. False: the guest is not wanted here any more."""
        command = MoveArrived(move_id=move_id, server_id=server.server_id, host_id=self._host_id)
        return await self._report(server, command, f"arrived/{move_id}")

    async def _report(self, server: Server, command: Command, part: str) -> bool:
        request_id = report_request_id(server, command, part)
        fields = {"server": server.server_id, "request_id": server.request_id, "kind": command.KIND}
        delay_ms = self._config.retry_ms
        while True:
            try:
                await self._state.propose(command, request_id=request_id)
                return True
            except CommandRejectedError as error:
                log.info("report refused", extra={**fields, "reason": error.reason, "error": error.message})
                return False
            except FabricError as error:
                log.warning("report not answered", extra={**fields, "code": error.code})
            await asyncio.sleep(delay_ms / 1000)
            delay_ms = min(delay_ms * 2, self._config.retry_ms_max)


def report_request_id(server: Server, command: Command, part: str) -> RequestId:
    """The user's request, the server, the generation, and what is said: a repeat is the same request, a
    different outcome of a repeated attempt is another."""
    digest = blake2b(encode_command(command), digest_size=8).hexdigest()
    return derive_request_id(server.request_id, f"{server.server_id}/{part}/{digest}")

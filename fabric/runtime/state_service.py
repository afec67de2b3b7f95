"""A voter's side of a host's reads and writes, with the limits of what a host may say.

A host's certificate lets it speak for itself only (DESIGN section 3): a stolen host can neither read nor
change what is not assigned to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric.core.images.queries import BlobsInUse
from fabric.core.nodes.queries import ListRoleGrants
from fabric.core.servers.queries import GetAssignments
from fabric.errors import CommandRejectedError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.hard_state import HardState
from fabric.runtime.ownership import Process, process_from_plain
from fabric.runtime.query_wire import query_from_plain
from fabric.runtime.state_wire import applied_to_plain, request_id_from_plain
from proto.codec import Plain
from proto.commands import command_from_plain
from proto.commands.moves import MoveArrived, MoveRunning
from proto.commands.nodes import HostRegister, HostUpdate
from proto.commands.providers import HostOffers
from proto.commands.servers import ServerObserved, ServerRemoved
from proto.commands.shelving import ServerShelved
from proto.errors import WireError
from proto.ids import NodeId, RequestId
from proto.records import to_wire

_OF_HOSTS = (
    HostRegister,
    HostUpdate,
    HostOffers,
    ServerObserved,
    ServerRemoved,
    ServerShelved,
    MoveRunning,
    MoveArrived,
)
REQUEST_ID_CHARS_MAX = 200
ASSIGNMENT_BYTES_MAX = 768 * 1024  # of one answer; a frame holds 1 MiB


class StateService:
    """Serves `state.propose` and `state.read`. SPEC.md, section "Methods"."""

    def __init__(
        self,
        state: HardState,
        rpc: Rpc,
        name_of: Callable[[NodeId], str | None],
        need_owner: Callable[[NodeId, Process | None], None],
    ) -> None:
        """`name_of` a member, as its certificate has it; None for one that is no member (any more).
        `need_owner` raises OwnerUnclearError where another process may own that member's identity than the
        one that asks."""
        self._state = state
        self._name_of = name_of
        self._need_owner = need_owner
        self._rpc = rpc
        rpc.serve("state.propose", self._propose)
        rpc.serve("state.read", self._read)

    def close(self) -> None:
        for method in ("state.propose", "state.read"):
            self._rpc.unserve(method)

    async def _propose(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        name = self._need_member(peer)
        command = command_from_plain(body.get("command"))
        request_id = request_id_from_plain(body, chars_max=REQUEST_ID_CHARS_MAX)
        if not isinstance(command, _OF_HOSTS):
            raise CommandRejectedError("forbidden", f"A host may not propose {command.KIND}.")
        if command.host_id != peer:
            raise CommandRejectedError("forbidden", "A host may speak only for itself.")
        if isinstance(command, HostRegister) and command.name != name:
            raise CommandRejectedError("forbidden", f"This host is named {name} in its certificate.")
        if isinstance(command, HostUpdate) and not _drains(command):
            raise CommandRejectedError("forbidden", "A host may drain itself, and no more.")
        self._need_owner(peer, process_from_plain(body))
        # the peer's id is part of the key, so that no host can spend another's request ids
        applied = await self._state.propose(command, request_id=RequestId(f"{peer}:{request_id}"))
        return applied_to_plain(applied)

    async def _read(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_member(peer)
        query = query_from_plain(body)
        if isinstance(query, GetAssignments):
            if query.host_id != peer:
                raise CommandRejectedError("forbidden", "A host may read only its own assignments.")
            if not 0 < query.bytes_max <= ASSIGNMENT_BYTES_MAX:
                raise WireError("bad_field", f"bytes_max: 1 to {ASSIGNMENT_BYTES_MAX}")
            self._need_owner(peer, process_from_plain(body))
        elif not isinstance(query, ListRoleGrants | BlobsInUse):
            raise CommandRejectedError("forbidden", "A host may not ask that.")
        answer: Plain = to_wire(await self._state.read(query))
        return answer

    def _need_member(self, peer: NodeId) -> str:
        """Its name. The mesh cuts the links of who is removed; what was on the way still comes here."""
        name = self._name_of(peer)
        if name is None:
            raise CommandRejectedError("forbidden", "Only a member of the fabric may ask.")
        return name


def _drains(command: HostUpdate) -> bool:
    """Taking work again is the operator's to say: a host may have been drained because it was stolen."""
    return command.enabled is False and command.forced_down is None

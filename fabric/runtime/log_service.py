"""What a voter answers the other voters and learners of its group: writes to pass on, and where reads stand.

They hold all rows anyway, so nothing is withheld from them; everybody else is refused (SPEC.md, "Methods").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fabric.core.queries import Applied
from fabric.core.raft.configuration import Configuration
from fabric.errors import FabricError, Outcome
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.state_wire import applied_to_plain, request_id_from_plain
from fabric.runtime.voter_state import PROPOSE, READ_INDEX
from proto.codec import Plain
from proto.commands import Command, command_from_plain
from proto.ids import LogIndex, NodeId, RequestId

REQUEST_ID_CHARS_MAX = 400  # the API's own ids, and what derives from them


class NotInGroupError(FabricError):
    """Who asks is no voter or learner here: not yet, or not any more. It may ask whoever leads it."""

    code = "fabric.raft.not_in_group"
    outcome = Outcome.NOT_DONE


class LeadingVoter(Protocol):
    @property
    def configuration(self) -> Configuration: ...

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied: ...

    async def read_index(self) -> LogIndex: ...


class LogService:
    """Serves until `close`. A voter that does not lead answers `NotLeaderError`, and nothing was done."""

    def __init__(self, voter: LeadingVoter, rpc: Rpc) -> None:
        self._voter = voter
        self._rpc = rpc
        rpc.serve(PROPOSE, self._propose)
        rpc.serve(READ_INDEX, self._read_index)

    def close(self) -> None:
        for method in (PROPOSE, READ_INDEX):
            self._rpc.unserve(method)

    async def _propose(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_member(peer)
        command = command_from_plain(body.get("command"))
        request_id = request_id_from_plain(body, chars_max=REQUEST_ID_CHARS_MAX)
        return applied_to_plain(await self._voter.propose(command, request_id=RequestId(request_id)))

    async def _read_index(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        del body
        self._need_member(peer)
        return {"index": await self._voter.read_index()}

    def _need_member(self, peer: NodeId) -> None:
        if peer not in self._voter.configuration.nodes:
            raise NotInGroupError("only the log's own voters and learners may ask that")

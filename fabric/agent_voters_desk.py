"""What an operator asks of an agent about the log's voters: answered from the leader where it can be reached,
else from what this node knows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from fabric.agent_roles import conductor_of
from fabric.agent_voter import VoterSide
from fabric.control import voters_view
from fabric.errors import FabricError, NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.log_status import STATUS, STATUS_TIMEOUT_MS
from fabric.runtime.mesh_view import MeshView
from fabric.runtime.node_admin import NodeRefusedError
from proto.commands.nodes import VoterWish
from proto.ids import new_request_id, node_of


class AgentVotersDesk:
    """Implements `fabric.api.local.voters.VoterDesk`."""

    def __init__(self, fleet: MeshView, rpc: Rpc, voter: Callable[[], VoterSide | None]) -> None:
        self._fleet = fleet
        self._rpc = rpc
        self._voter = voter

    async def show(self) -> dict[str, Any]:
        """As the leader sees it where it can be reached, else as this node knows it. Raises NoQuorumError."""
        voter = self._voter()
        if voter is not None and voter.leads:
            return self._view(await voter.log_status(), "leader")
        conductor = conductor_of(self._fleet)
        if conductor is not None and conductor != self._fleet.me:
            with suppress(FabricError):  # this node's own knowledge is better than none
                answer = await self._rpc.call(conductor, STATUS, {}, timeout_ms=STATUS_TIMEOUT_MS)
                if isinstance(answer, dict):
                    return self._view(answer, "leader")
        if voter is None or not voter.is_serving:
            raise NoQuorumError("nobody who leads the log can be reached, and this node holds no part of it")
        return self._view(await voter.log_status(), "here")

    async def wish(self, node: str, wish: str) -> dict[str, Any]:
        voter = self._need_voter()
        found = await voter.admin.find(node)
        command = VoterWish(node_id=found.node_id, wish=wish)
        await voter.state.propose(command, request_id=new_request_id())
        return {"id": found.node_id, "name": found.name, "wish": wish}

    async def promote(self, node: str) -> dict[str, Any]:
        """Of a standby alone. Raises NodeRefusedError."""
        found = await self._need_voter().admin.find(node)
        rows = (await self.show())["voters"]
        roles = {row["role"] for row in rows if node_of(row["id"]) == found.node_id}
        if "learner" not in roles:
            votes = f"{found.name} votes already" if roles else f"{found.name} does not stand by"
            raise NodeRefusedError(f"{votes}; `fabric voters add` asks any node to hold the log")
        return await self.wish(node, "wanted")

    async def lead(self, node: str) -> dict[str, Any]:
        voter = self._need_voter()
        found = await voter.admin.find(node)
        await voter.hand_over_to(found.node_id)
        return {"id": found.node_id, "name": found.name}

    def _need_voter(self) -> VoterSide:
        voter = self._voter()
        if voter is None:
            raise NodeRefusedError("ask a node that holds the log: `fabric voters` lists them")
        if voter.voter_id is None:
            raise NodeRefusedError("nobody votes: this fabric's rows live in a database of their own")
        return voter

    def _view(self, status: dict[str, Any], seen_from: str) -> dict[str, Any]:
        return voters_view.voters(self._fleet, status) | {"seen_from": seen_from}

"""What an operator asks of an agent about where servers go: answered from this node's own rows, as an admin's
question to the API would be. A node without rows says where to ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fabric.agent_nodes import where_to_ask
from fabric.control import (
    explanation_view,
    explanations,
    policy,
    rebalance,
    rebalance_view,
    room,
    room_view,
)
from fabric.control.context import Caller, Cloud
from fabric.control.errors import InvalidError
from fabric.runtime.mesh_view import MeshView
from fabric.runtime.node_admin import NodeRefusedError
from proto.ids import DomainId, UserId, new_request_id


class AgentPlacementDesk:
    """Implements `fabric.api.local.placement.PlacementDesk`. `cloud` is None where there are no rows."""

    def __init__(self, fleet: MeshView, cloud: Callable[[], Cloud | None]) -> None:
        self._fleet = fleet
        self._cloud = cloud

    async def why(self, server: str) -> dict[str, Any]:
        cloud, caller = self._need_rows("placement is explained"), _operator()
        server_id = await explanations.find_server(cloud, caller, server)
        return explanation_view.explanation(await explanations.why(cloud, caller, server_id), is_admin=True)

    async def why_not(self, server: str, host: str) -> dict[str, Any]:
        cloud, caller = self._need_rows("placement is explained"), _operator()
        server_id = await explanations.find_server(cloud, caller, server)
        return explanation_view.why_not(await explanations.why_not(cloud, caller, server_id, host))

    async def explain(self, body: dict[str, Any]) -> dict[str, Any]:
        from fabric.api.faults import ApiError  # only here: a node without the API starts faster
        from fabric.api.own.schemas.placement import EXPLAIN
        from fabric.api.own.wishes import wish_of
        from fabric.api.validation import check_body

        cloud = self._need_rows("placement is explained")
        try:
            check_body(body, EXPLAIN)
        except ApiError as error:
            raise InvalidError(error.fault.message) from error
        found = await explanations.explain(cloud, _operator(), wish_of(body))
        return explanation_view.explanation(found, is_admin=True)

    async def capacity(self, by: room.By, flavor: str | None) -> dict[str, Any]:
        cloud = self._need_rows("claims are counted")
        return room_view.report(await room.capacity(cloud, _operator(), by, flavor=flavor))

    async def rebalance(self, moves_max: int) -> dict[str, Any]:
        cloud = self._need_rows("moves are planned")
        found = await rebalance.propose_moves(cloud, _operator(), moves_max=moves_max)
        return rebalance_view.proposal(found)

    def _need_rows(self, what: str) -> Cloud:
        cloud = self._cloud()
        if cloud is None:
            raise NodeRefusedError(f"this node holds no rows; {where_to_ask(self._fleet, what)}")
        return cloud


def _operator() -> Caller:
    """Whoever may open the local socket."""
    return Caller(
        user_id=UserId(""),
        user_name="operator",
        domain_id=DomainId(""),
        project_id=None,
        project_name=None,
        roles=policy.implied_roles(["admin"]),
        request_id=new_request_id(),
    )

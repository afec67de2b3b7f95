"""What an agent answers its operator on the local socket, and whoever scrapes its metrics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from fabric import __version__
from fabric.agent_copies import AgentCopies
from fabric.agent_node import NodeParts
from fabric.agent_nodes import AgentNodes, where_to_ask
from fabric.agent_operator import OperatorSide
from fabric.agent_placement_desk import AgentPlacementDesk
from fabric.agent_roles import conductor_of
from fabric.agent_voter import VoterSide
from fabric.agent_voters_desk import AgentVotersDesk
from fabric.api.local.app import LocalParts
from fabric.api.local.mesh import MeshParts
from fabric.api.local.metrics import MetricsServer
from fabric.api.local.server import serve_local
from fabric.control import operate
from fabric.control.context import Cloud
from fabric.runtime import local_socket
from fabric.runtime.hard_state import HardState
from fabric.runtime.lease_status import LeaseSeen, ask_leases
from fabric.runtime.node_admin import NodeAdmin
from fabric.runtime.node_identity import IdentityError
from netplug.contract import NetPlug
from proto.ids import NodeId


class LocalSide:
    """Parts that come later than the local socket are asked for each time, and None until then."""

    def __init__(
        self,
        node: NodeParts,
        operator: OperatorSide,
        *,
        voter: Callable[[], VoterSide | None],
        cloud: Callable[[], Cloud | None],
        plug: Callable[[], NetPlug | None],
        is_ready: Callable[[], bool],
    ) -> None:
        self._node = node
        self._operator = operator
        self._voter = voter
        self._cloud = cloud
        self._plug = plug
        self._is_ready = is_ready

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Raises ConfigError where metrics cannot be listened for."""
        node = self._node
        await serve_local(stack, local_socket.bind(node.config.state_dir), self._parts())
        where = node.config.metrics
        if where.listen:
            metrics = await MetricsServer.listen(self._operator.scrape, host=where.listen, port=where.port)
            stack.push_async_callback(metrics.close)
        for name, work in self._operator.work():
            node.supervisor.supervise(stack, name, work)

    def _parts(self) -> LocalParts:
        node, voter = self._node, self._voter
        return LocalParts(
            fleet=node.fleet,
            clock=node.clock,
            events=node.events,
            status=self._status,
            create_token=self._create_token,
            host_network=self._host_network,
            leases=self._leases,
            host_zones=self._host_zones,
            mesh=MeshParts(probes=self._operator.probes, exam=self._operator.exam),
            scrape=self._operator.scrape,
            note=lambda: node.who.not_admitted,
            voters=AgentVotersDesk(node.fleet, node.rpc, voter),
            copies=AgentCopies(node.config, voter, node.clock, node.events),
            placement=AgentPlacementDesk(node.fleet, self._cloud),
            nodes=AgentNodes(
                node.fleet,
                node.clock,
                admin=self._admin,
                state=self._any_state,
                rotation=lambda: node.who.rotation,
            ),
        )

    def _status(self) -> dict[str, Any]:
        who = self._node.who
        return {
            "id": who.identity.node_id,
            "name": self._node.config.node_name,
            "fabric": who.member.fabric_id,
            "version": __version__,
            "ready": self._is_ready(),
            "founder": who.member.founder,
            "not_admitted": who.not_admitted,
            "mesh_dropped": dict(self._operator.dropped()),
        }

    def _admin(self) -> NodeAdmin | None:
        voter = self._voter()
        return None if voter is None else voter.admin

    async def _create_token(self, ttl_s: int, uses: int) -> str:
        voter = self._voter()
        if voter is None:
            raise IdentityError(where_to_ask(self._node.fleet, "join tokens are made"))
        return await voter.create_token(ttl_s=ttl_s, uses=uses)

    async def _leases(self) -> tuple[LeaseSeen, ...]:
        voter, fleet = self._voter(), self._node.fleet
        if voter is not None and voter.leads:
            return voter.leases()
        conductor = conductor_of(fleet)
        return () if conductor in (None, fleet.me) else await ask_leases(self._node.rpc, conductor)

    async def _host_zones(self) -> Mapping[NodeId, str]:
        """Of this node's own rows: a host without any is told of itself alone."""
        voter = self._voter()
        if voter is None or not voter.is_serving:
            return {}
        return await operate.host_zones(voter.state)

    def _any_state(self) -> HardState:
        """Rows of this node's own, or the way to who has them."""
        voter = self._voter()
        return voter.state if voter is not None and voter.is_serving else self._node.remote

    async def _host_network(self) -> dict[str, Any]:
        plug = self._plug()
        if plug is None:
            return {"bridges": [], "taps": [], "dnsmasq_pids": [], "nft_rules": 0, "files": []}
        left = await plug.leftovers()
        return {
            "bridges": list(left.bridges),
            "taps": list(left.taps),
            "dnsmasq_pids": list(left.dnsmasq_pids),
            "nft_rules": left.nft_rules,
            "files": list(left.files),
        }

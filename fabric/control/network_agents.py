"""Each member of the fabric as the network agent it is: what `openstack network agent list` shows."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import NotFoundError
from fabric.control.services import is_answering
from fabric.core.nodes.queries import ListHosts
from proto.ids import NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAgent:
    node_id: NodeId
    host: str
    zone: str
    is_alive: bool
    is_enabled: bool
    created_ms: int
    heard_ms: int  # wall clock, of the last evidence of life


async def list_network_agents(cloud: Cloud, caller: Caller) -> tuple[NetworkAgent, ...]:
    """Hosts in the order they came, with what this node believes of them now. Raises ForbiddenError."""
    policy.require(caller, "network_agents:list")
    hosts = await cloud.state.read(ListHosts())
    wall_offset_ms = cloud.clock.wall_ms() - cloud.clock.monotonic_ms()
    agents = []
    for usage in hosts:
        host = usage.host
        member = cloud.fleet.member(host.host_id)
        agents.append(
            NetworkAgent(
                node_id=host.host_id,
                host=host.name,
                zone=host.zone,
                is_alive=is_answering(cloud, host.host_id),
                is_enabled=host.enabled,
                created_ms=host.created_ms,
                heard_ms=host.updated_ms if member is None else member.heard_ms + wall_offset_ms,
            )
        )
    return tuple(agents)


async def get_network_agent(cloud: Cloud, caller: Caller, node_id: NodeId) -> NetworkAgent:
    """Raises NotFoundError, ForbiddenError."""
    for agent in await list_network_agents(cloud, caller):
        if agent.node_id == node_id:
            return agent
    raise NotFoundError(f"Agent {node_id} could not be found.")


async def network_zones(cloud: Cloud) -> tuple[str, ...]:
    """Names of the zones that hosts are in, the default one when there are none yet."""
    hosts = await cloud.state.read(ListHosts())
    return tuple(sorted({usage.host.zone for usage in hosts} or {cloud.default_zone}))

"""A member as the network agent it is."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from fabric.control.network_agents import NetworkAgent
from proto.ids import NodeId

ATTRIBUTES = frozenset(
    {"id", "agent_type", "binary", "host", "alive", "admin_state_up", "availability_zone", "topic"}
)
_TIME = "%Y-%m-%d %H:%M:%S"  # Neutron's agents API has its own form


def render(agent: NetworkAgent) -> dict[str, Any]:
    return {
        "id": agent_id(agent.node_id),
        "agent_type": "Fabric agent",
        "binary": "fabric-agent",
        "topic": "N/A",
        "host": agent.host,
        "availability_zone": agent.zone,
        "admin_state_up": agent.is_enabled,
        "alive": agent.is_alive,
        "created_at": _time(agent.created_ms),
        "started_at": _time(agent.created_ms),
        "heartbeat_timestamp": _time(agent.heard_ms),
        "description": None,
        "configurations": {},
        "resources_synced": None,
    }


def agent_id(node_id: NodeId) -> str:
    """A node's id in the form clients expect of agents. `node_id_of` is its inverse."""
    return str(uuid.UUID(hex=node_id))


def node_id_of(text: str) -> NodeId:
    """Whatever is no agent's id becomes a node id that nobody has."""
    try:
        return NodeId(uuid.UUID(text).hex)
    except ValueError:
        return NodeId("")


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms / 1000, UTC).strftime(_TIME)

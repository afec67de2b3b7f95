"""Three voters on a mesh, and what an agent lays over each: its state, and its answers to the others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fabric.core.identity.queries import ListProjects
from fabric.core.membership.model import Member
from fabric.core.queries import Consistency
from fabric.runtime.clock import SystemClock
from fabric.runtime.log_service import LogService
from fabric.runtime.voter_state import VoterState
from proto.commands.identity import ProjectCreate
from proto.ids import NodeId, ProjectId
from tests.fixtures.mesh_nodes import loopback_transports, until
from tests.fixtures.store_world import DOMAIN
from tests.fixtures.voter_nodes import PATIENCE_S, VoterNode, found, voter_nodes


@dataclass
class Seat:
    """A voter, as the rest of its agent has it."""

    node: VoterNode
    state: VoterState
    service: LogService

    async def names(self, consistency: Consistency = Consistency.SESSION) -> set[str]:
        rows = await self.state.read(ListProjects(), consistency=consistency)
        return {project.name for project in rows} - {"admin", "service"}


def seat(node: VoterNode) -> Seat:
    """Of a voter that has started."""
    rpc = node.end.rpc
    return Seat(node, VoterState(node.engine, rpc, SystemClock()), LogService(node.engine, rpc))


@asynccontextmanager
async def group(folder: Path, count: int = 3) -> AsyncIterator[list[Seat]]:
    """Who leads comes first, and all others know it."""
    async with voter_nodes(loopback_transports(), folder, count) as nodes:
        leader = await found(*nodes)
        seats = [seat(node) for node in (leader, *(node for node in nodes if node is not leader))]
        await until(lambda: all(node.engine.leader_id == leader.voter for node in nodes), PATIENCE_S)
        yield seats


def project(number: int) -> ProjectCreate:
    return ProjectCreate(project_id=ProjectId(f"p{number}"), domain_id=DOMAIN, name=f"n{number}")


def renamed(member: Member, node_id: NodeId) -> Member:
    """As the mesh knows a node of that id."""
    return replace(member, record=replace(member.record, node_id=node_id))

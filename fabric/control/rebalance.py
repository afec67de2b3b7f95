"""Proposals of moves that would make hosts as busy as each other. Nothing here changes anything: whoever
agrees asks for each move."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.queries import GetPlacementRequest
from fabric.core.placement.rebalance import EVENED, Placed, Plan, load_of, plan
from fabric.core.queries import Page
from fabric.core.servers.model import Server
from fabric.core.servers.queries import ListServers, ServerFilter
from fabric.core.servers.states import VmState
from fabric.runtime.host_view import read_table
from proto.ids import LogIndex, ServerId

MOVES_MAX = 100
SERVERS_MAX = 500  # looked at for one plan: those of hosts to be emptied, then of the busiest
_PAGE = 200
_MOVABLE = frozenset({VmState.ACTIVE, VmState.STOPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """By the rows as of `index`. `names`: of the servers in it. `is_partial`: servers were left out for
    their number, and a plan made after these moves may find more."""

    plan: Plan
    names: dict[ServerId, str]
    index: LogIndex
    is_partial: bool


async def propose_moves(cloud: Cloud, caller: Caller, *, moves_max: int) -> Proposal:
    """Raises: ForbiddenError."""
    policy.require(caller, "fabric:rebalance:plan")
    index = cloud.state.applied_index
    servers, is_partial = await _movable(cloud, await read_table(cloud.state, cloud.fleet, []))
    placed = []
    for server in servers:
        request = await cloud.state.read(GetPlacementRequest(server_id=server.server_id))
        if request is not None and server.host_id is not None:
            free = replace(request, host_name=None)  # whom its create named binds no move
            placed.append(Placed(request=free, host_id=server.host_id))
    table = await read_table(cloud.state, cloud.fleet, [each.request for each in placed])
    found = await asyncio.to_thread(plan, placed, table, cloud.placement, moves_max=moves_max)
    return Proposal(
        plan=found,
        names={server.server_id: server.name for server in servers},
        index=index,
        is_partial=is_partial,
    )


async def _movable(cloud: Cloud, table: HostTable) -> tuple[list[Server], bool]:
    """Servers that rest, of hosts to be emptied and then of the busiest; and whether some were left out."""
    found: list[Server] = []
    for facts in sorted(table.hosts, key=_urgency):
        if not facts.servers or not (facts.can_take or not facts.host.enabled):
            continue
        page = Page(limit=_PAGE)
        while True:
            wanted = ServerFilter(host_name=facts.host.name)
            views = await cloud.state.read(ListServers(filter=wanted, page=page))
            for view in views:
                if view.server.task_state is None and view.server.vm_state in _MOVABLE:
                    if len(found) == SERVERS_MAX:
                        return found, True
                    found.append(view.server)
            if len(views) < _PAGE:
                break
            page = replace(page, marker=views[-1].server.server_id)
    return found, False


def _urgency(facts: HostFacts) -> tuple[bool, float, str]:
    load = load_of(facts)
    return facts.host.enabled, -sum(load[name] for name in EVENED), facts.host.name

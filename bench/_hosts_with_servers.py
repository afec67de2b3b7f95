"""A fabric of one node's rows: hosts with servers on them, and a membership table that says that all live."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench._server_creates import DEADLINE_MS, Tenant, create, found
from fabric.core.membership.model import Member, MemberState, NodeRecord
from fabric.core.topology.facts import write_facts
from fabric.core.topology.model import HostCell, HostTopology
from fabric.runtime.clock import SystemClock
from fabric.store.engine import Engine
from proto.commands import Command
from proto.commands.nodes import HostRegister, JoinTokenCreate, NodeAdmit, RoleHold
from proto.commands.providers import ClassInventory, HostOffers
from proto.commands.servers import ServerCreate, ServerPlace
from proto.ids import Epoch, Fence, NodeId, TokenId, new_hex_id, new_request_id

IN_FLIGHT = 256


class AllAlive:
    """Implements `Fleet`. Members are made when they are asked for, as the membership table does it."""

    def __init__(self, records: Iterator[NodeRecord]) -> None:
        self._records = {record.node_id: record for record in records}

    @property
    def me(self) -> NodeId:
        return next(iter(self._records))

    def members(self) -> tuple[Member, ...]:
        made = map(_member, self._records.values())
        return tuple(sorted(made, key=lambda each: (each.record.name, each.record.node_id)))

    def member(self, node_id: NodeId) -> Member | None:
        record = self._records.get(node_id)
        return None if record is None else _member(record)

    def is_alive(self, node_id: NodeId) -> bool:
        return True

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        return lambda: None


@dataclass(frozen=True, slots=True)
class Furnished:
    """`servers`: all that are on hosts."""

    tenant: Tenant
    fleet: AllAlive
    fence: Fence
    servers: list[ServerCreate]


async def furnish(state: Engine, count: int, servers: int, cells: int = 0) -> Furnished:
    """`count` hosts with `servers` each, at the highest level. All hosts tell so many NUMA cells."""
    while state.level < state.levels.highest:
        await state.raise_level(state.level + 1)
    tenant = await found(state)
    ids = [NodeId(new_hex_id()) for _ in range(count)]
    token = TokenId(new_hex_id())
    now_ms = SystemClock().wall_ms()
    first = JoinTokenCreate(
        token_id=token, secret_hash=b"h" * 32, expires_ms=now_ms + DEADLINE_MS, uses=count
    )
    await state.propose(first, request_id=new_request_id())
    await propose_all(state, (_admit(node_id, token) for node_id in ids))
    await propose_all(state, (_host(node_id, number) for number, node_id in enumerate(ids)))
    if cells:
        await propose_all(state, (_offer(node_id, number, cells) for number, node_id in enumerate(ids)))
    granted = await state.propose(RoleHold(role="scheduler", node_id=ids[0]), request_id=new_request_id())
    creates = [create(tenant, number, now_ms) for number in range(count * servers)]
    await propose_all(state, iter(creates))
    fence = Fence(granted.index)
    await propose_all(state, (_place(each, ids[n % count], fence) for n, each in enumerate(creates)))
    fleet = AllAlive(_record(node_id, number) for number, node_id in enumerate(ids))
    return Furnished(tenant, fleet, fence, creates)


async def propose_all(state: Engine, commands: Iterator[Command]) -> None:
    async def proposer() -> None:
        for command in commands:
            await state.propose(command, request_id=new_request_id())

    await asyncio.gather(*(proposer() for _ in range(IN_FLIGHT)))


def _admit(node_id: NodeId, token: TokenId) -> NodeAdmit:
    return NodeAdmit(
        node_id=node_id,
        name=f"h{node_id[:12]}",
        curve_public=bytes.fromhex(node_id) * 2,
        certificate=b"c",
        token_id=token,
    )


def _host(node_id: NodeId, number: int) -> HostRegister:
    return HostRegister(
        host_id=node_id,
        name=f"h{number}",
        address="10.0.0.1",
        zone=f"z{number % 3}",
        hypervisor_type="sim",
        hypervisor_version=1_000_000,
        arch="x86_64",
        vcpus=16 + number % 48,
        memory_mb=65_536,
        disk_gb=1_000,
    )


def _offer(node_id: NodeId, at: int, cells: int) -> HostOffers:
    """No two machines have quite the same memory."""
    told = HostTopology(
        cells=tuple(
            HostCell(
                cell_id=number,
                memory_mb=65_536 // cells - at % 1_000,
                shared=16 // cells,
                dedicated=8,
                pages={2_048: 512, 1_048_576: 4},
                socket=number,
            )
            for number in range(cells)
        )
    )
    dedicated = {"PCPU": ClassInventory(total=8 * cells)}
    return HostOffers(host_id=node_id, inventories=dedicated, facts=write_facts(told))


def _place(server: ServerCreate, host_id: NodeId, fence: Fence) -> ServerPlace:
    return ServerPlace(server_id=server.server_id, host_id=host_id, fence=fence, read_generation=1)


def _record(node_id: NodeId, number: int) -> NodeRecord:
    return NodeRecord(
        node_id=node_id,
        name=f"h{number}",
        endpoint="tcp://127.0.0.1:1",
        curve_public=b"c" * 32,
        certificate=b"",
        epoch=Epoch(1),
        version=1,
        zone="nova",
        software="0",
        roles=(),
    )


def _member(record: NodeRecord) -> Member:
    return Member(record=record, state=MemberState.ALIVE, heard_ms=0, changed_ms=0)

"""What an operator asks of the node in front of them. Answered from this node alone, also when cut off."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fabric.core.membership.model import Member, MemberState
from fabric.core.nodes.model import HostUsage
from fabric.core.nodes.queries import ListHosts
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState


def members(fleet: Fleet, clock: Clock) -> list[dict[str, Any]]:
    """The stable JSON shape of `fabric members` (issue 2): later work may add keys, never rename."""
    now_ms = clock.monotonic_ms()
    return [_member(member, now_ms) for member in fleet.members()]


def _member(member: Member, now_ms: int) -> dict[str, Any]:
    record, load = member.record, member.record.capacity
    return {
        "id": record.node_id,
        "name": record.name,
        "state": member.state.value,
        "age_s": round(max(0, now_ms - member.heard_ms) / 1000, 1),
        "address": record.endpoint,
        "roles": sorted(claim.role for claim in record.roles),
        "zone": record.zone,
        "version": record.software,
        "capacity": {
            "vcpus": load.vcpus,
            "vcpus_used": load.vcpus_used,
            "memory_mb": load.memory_mb,
            "memory_mb_used": load.memory_mb_used,
            "disk_gb": load.disk_gb,
            "disk_gb_used": load.disk_gb_used,
            "servers": load.servers,
            "hypervisor": load.hypervisor,
        },
        "incarnation": record.incarnation,
    }


def leaders(fleet: Fleet) -> list[dict[str, Any]]:
    """Who holds which role, as the holders themselves say; of two claims the higher fence is newer."""
    rows: list[dict[str, Any]] = []
    for member in fleet.members():
        if member.state in (MemberState.ALIVE, MemberState.SUSPECT, MemberState.STALLED):
            rows.extend(
                {
                    "role": claim.role,
                    "node": member.record.name,
                    "since": claim.since_ms / 1000,
                    "fence": claim.fence,
                    "state": member.state.value,
                }
                for claim in member.record.roles
            )
    newest: dict[str, dict[str, Any]] = {}
    shared = []
    for row in rows:
        if row["role"] == "api":  # held by several at once
            shared.append(row)
        elif row["role"] not in newest or row["fence"] > newest[row["role"]]["fence"]:
            newest[row["role"]] = row
    return sorted([*newest.values(), *shared], key=lambda row: (row["role"], row["node"]))


@dataclass(frozen=True, slots=True)
class _Resource:
    name: str
    total: str
    used: str


_RESOURCES = (
    _Resource("vcpus", "vcpus", "vcpus_used"),
    _Resource("memory_mb", "memory_mb", "memory_mb_used"),
    _Resource("disk_gb", "disk_gb", "disk_gb_used"),
)


def capacity(fleet: Fleet) -> list[dict[str, Any]]:
    """Each host's total, used and free as it says itself, and whether it is there."""
    rows = []
    for member in fleet.members():
        load = member.record.capacity
        if load.vcpus == 0:
            continue
        row: dict[str, Any] = {
            "host": member.record.name,
            "zone": member.record.zone,
            "state": member.state.value,
            "servers": load.servers,
            "hypervisor": load.hypervisor,
        }
        for resource in _RESOURCES:
            total, used = getattr(load, resource.total), getattr(load, resource.used)
            row[resource.name] = {"total": total, "used": used, "free": total - used}
        rows.append(row)
    return rows


async def claimed(state: HardState) -> tuple[HostUsage, ...]:
    """What server rows claim on each host: the strict truth, where this node can read it."""
    return await state.read(ListHosts())

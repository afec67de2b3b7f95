"""What an operator asks of the node in front of them. Answered from this node alone, also when cut off.

The JSON shapes here are stable (issue 2): later work may add keys, never rename.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from fabric.core.membership.model import DRAIN_REASON, LinkView, Member, MemberState
from fabric.core.nodes.model import HostUsage
from fabric.core.nodes.queries import ListHosts
from fabric.errors import FabricError, Outcome
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from fabric.runtime.lead_loop import CONDUCTOR
from fabric.runtime.lease_status import LeaseSeen
from fabric.runtime.level_watch import levels_of
from fabric.runtime.mesh_view import MeshView, is_cut_off
from fabric.runtime.unstarted import is_unstarted
from fabric.runtime.virtual_address import VIP_LABEL
from proto.ids import NodeId

ID_PREFIX_CHARS_MIN = 4
ROWS_WAIT_S = 2  # for what rows add to what is known without them
NO_ZONES: Mapping[NodeId, str] = {}
NOT_STARTED = "admitted, not started yet"
ANSWERING_STATES = frozenset({MemberState.ALIVE, MemberState.SUSPECT})  # a suspicion is only a question


class NoSuchNodeError(FabricError):
    code = "fabric.operate.no_such_node"
    outcome = Outcome.NOT_DONE


def find(fleet: Fleet, text: str) -> Member:
    """The member of that name, id, or beginning of an id. Raises NoSuchNodeError."""
    members = fleet.members()
    for member in members:
        if text in (member.record.name, member.record.node_id):
            return member
    if len(text) >= ID_PREFIX_CHARS_MIN:
        found = [member for member in members if member.record.node_id.startswith(text)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(member.record.name for member in found[:8])
            raise NoSuchNodeError(f"{text!r} begins the ids of several nodes: {names}")
    raise NoSuchNodeError(f"this node knows no node {text!r}; `fabric members` lists those it knows")


def members(view: MeshView, clock: Clock) -> list[dict[str, Any]]:
    now_ms = clock.monotonic_ms()
    up = {link.node_id for link in view.links() if link.is_up}
    return [_member(member, _heard(member, view.me, up), now_ms) for member in view.members()]


def _member(member: Member, heard: str, now_ms: int) -> dict[str, Any]:
    record, capacity = member.record, member.capacity
    return {
        "id": record.node_id,
        "name": record.name,
        "state": member.state.value,
        "age_s": _age_s(member.heard_ms, now_ms),
        "address": record.endpoint,
        "roles": sorted(claim.role for claim in record.roles),
        "zone": record.zone,
        "version": record.software,
        "capacity": {
            "vcpus": capacity.vcpus,
            "vcpus_used": capacity.vcpus_used,
            "memory_mb": capacity.memory_mb,
            "memory_mb_used": capacity.memory_mb_used,
            "disk_gb": capacity.disk_gb,
            "disk_gb_used": capacity.disk_gb_used,
            "servers": capacity.servers,
            "hypervisor": capacity.hypervisor,
            "load": capacity.load_milli / 1000,
            "draining": capacity.is_draining,
        },
        "incarnation": record.incarnation,
        "epoch": record.epoch,
        "rack": record.rack,
        "rtt_ms": _ms(member.rtt_us) if member.state in ANSWERING_STATES else None,  # else it is history
        "heard": heard,
        "state_age_s": _age_s(member.changed_ms, now_ms),
        "labels": dict(record.labels),
        "levels": str(levels_of(member)),
        "api_urls": list(record.api_urls),
        "note": NOT_STARTED if is_unstarted(member) else "",
    }


def _heard(member: Member, me: NodeId, up: Set[NodeId]) -> str:
    """How this node knows: it is that node, a link tells, a link told that is down now, or others told."""
    if member.record.node_id == me:
        return "self"
    if not member.is_linked:
        return "gossip"
    if member.record.node_id in up:
        return "link"
    is_first_hand = member.spoke_ms is not None and member.spoke_ms >= member.heard_ms
    return "lost" if is_first_hand else "gossip"


def links(view: MeshView, clock: Clock) -> list[dict[str, Any]]:
    """The active view: whom this node hears first-hand, and what it thinks of each link."""
    now_ms = clock.monotonic_ms()
    return [_link(link, view.member(link.node_id), now_ms) for link in view.links()]


def _link(link: LinkView, member: Member | None, now_ms: int) -> dict[str, Any]:
    return {
        "id": link.node_id,
        "name": link.name,
        "state": None if member is None else member.state.value,
        "address": None if member is None else member.record.endpoint,
        "up": link.is_up,
        "eager": link.is_eager,
        "ring": link.is_ring,
        "bad": link.is_bad,
        "heard_s": _age_s(link.heard_ms, now_ms),
        "since_s": _age_s(link.since_ms, now_ms),
        "changed_s": _age_s(link.changed_ms, now_ms),
        "rtt_ms": _ms(link.rtt_us),
        "lag_ms": link.lag_ms,
    }


def health(view: MeshView) -> dict[str, Any]:
    """How this node's own part in the mesh does; goes into `/status`."""
    return {
        "isolated": is_cut_off(view),
        "members": len(view.members()),
        "links": sum(link.is_up for link in view.links()),
        "roots_agreeing": view.roots_agreeing(),
        "awareness": view.awareness,
        "root": view.root.hex(),
        "counters": dict(sorted(view.counters.items())),
        "refused": dict(sorted(view.refused.items())),
    }


def leaders(fleet: Fleet, leases: Sequence[LeaseSeen] = ()) -> list[dict[str, Any]]:
    """Who holds which role, as the holders themselves say; of two claims the higher fence is newer. A stalled
    holder is shown: it still holds the role, and its state says why nothing moves. `leases`: as who leads
    knows them."""
    left_s = {(each.role, each.node_id): each.left_ms / 1_000 for each in leases}
    rows: list[dict[str, Any]] = []
    for member in fleet.members():
        if member.state in ANSWERING_STATES or member.state is MemberState.STALLED:
            rows.extend(
                {
                    "role": claim.role,
                    "node": member.record.name,
                    "since": claim.since_ms / 1000,
                    "fence": claim.fence,
                    "lease_s": left_s.get((claim.role, member.record.node_id)),
                    "state": member.state.value,
                    "virtual_address": virtual_address(member) if claim.role == CONDUCTOR else "",
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
    able = sorted(
        row["node"] for row in shared if row["state"] in {state.value for state in ANSWERING_STATES}
    )
    for row in newest.values():  # whoever serves the API has the rows, and what else it takes
        row["candidates"] = [name for name in able if name != row["node"]]
    for row in shared:
        row["candidates"] = []
    return sorted([*newest.values(), *shared], key=lambda row: (row["role"], row["node"]))


def virtual_address(member: Member) -> str:
    """The API's, where this member says that it has it; else ""."""
    return member.record.labels.get(VIP_LABEL, "")


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


def capacity(fleet: Fleet, zones: Mapping[NodeId, str] = NO_ZONES) -> list[dict[str, Any]]:
    """Each host's total, used and free as it says itself, and whether it is there. `zones`: of the hosts
    whose zone the rows tell; others are in the one they name."""
    rows = []
    for member in fleet.members():
        offered = member.capacity
        is_told = offered.vcpus or offered.memory_mb  # all of a host's processors may be dedicated
        if not is_told and member.record.node_id not in zones:  # one that just started has said nothing yet
            continue
        row: dict[str, Any] = {
            "host": member.record.name,
            "zone": zones.get(member.record.node_id, member.record.zone),
            "state": member.state.value,
            "servers": offered.servers,
            "hypervisor": offered.hypervisor,
        }
        for resource in _RESOURCES:
            total, used = getattr(offered, resource.total), getattr(offered, resource.used)
            row[resource.name] = {"total": total, "used": used, "free": total - used}
        rows.append(row | {"draining": offered.is_draining, "drain_reason": drain_reason(member)})
    return rows


def drain_reason(member: Member) -> str:
    """Why it takes no new servers, as its operator said; "" when it does, or nobody said."""
    return member.load.extra.get(DRAIN_REASON, "") if member.load.is_draining else ""


async def host_zones(state: HardState) -> Mapping[NodeId, str]:
    """By the rows, aggregates included; of no host where they do not answer soon: who is cut off is told what
    hosts say."""
    try:
        async with asyncio.timeout(ROWS_WAIT_S):
            return {usage.host.host_id: usage.host.zone for usage in await state.read(ListHosts())}
    except (FabricError, TimeoutError):
        return {}


async def claimed(state: HardState) -> tuple[HostUsage, ...]:
    """What server rows claim on each host: the strict truth, where this node can read it."""
    return await state.read(ListHosts())


def _age_s(then_ms: int, now_ms: int) -> float:
    return round(max(0, now_ms - then_ms) / 1000, 1)


def _ms(micros: int | None) -> float | None:
    return None if micros is None else round(micros / 1000, 3)

"""The log's voters as an operator reads them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.runtime.level_watch import HALTED_LABEL, levels_of
from fabric.runtime.mesh_view import MeshView
from proto.ids import NodeId, VoterId, node_of

HANGS_MS = 5_000
_ORDER = ("leader", "voter", "outgoing", "learner")


def voters(view: MeshView, status: Mapping[str, Any]) -> dict[str, Any]:
    """`status`: what `fabric.runtime.log_status` gives. `may_fail`: how many voters may fail at once before
    changes stop."""
    rows = [
        {
            "id": voter,
            "role": "leader" if voter == status["leader"] and role == "voter" else role,
            **_node(view, node_of(VoterId(voter))),
            "wish": status["wishes"].get(node_of(VoterId(voter)), ""),
            "lag": status["seen"].get(voter, {}).get("lag"),
            "silent_s": _seconds(status["seen"].get(voter, {}).get("silent_ms")),
            "disk_hangs_s": _seconds(_hanging_ms(status, voter)),
        }
        for role, members in _roles(status)
        for voter in members
    ]
    rows.sort(key=lambda row: (_ORDER.index(row["role"]), row["node"]))
    return {
        "voters": rows,
        "term": status["term"],
        "index": status["index"],
        "level": status.get("level", 1),  # a leader of before levels says nothing
        "may_fail": max(0, (len(status["voters"]) - 1) // 2),
        "autopilot": status["autopilot"],
    }


def _roles(status: Mapping[str, Any]) -> tuple[tuple[str, list[str]], ...]:
    voting = set(status["voters"])
    outgoing = [voter for voter in status["outgoing"] if voter not in voting]
    learners = [voter for voter in status["learners"] if voter not in voting | set(outgoing)]
    return (("voter", status["voters"]), ("outgoing", outgoing), ("learner", learners))


def _node(view: MeshView, node_id: NodeId) -> dict[str, Any]:
    member = view.member(node_id)
    if member is None:
        return {"node": node_id, "state": "unknown", "zone": "", "levels": "", "halted": ""}
    return {
        "node": member.record.name,
        "state": member.state.value,
        "zone": member.record.zone,
        "levels": str(levels_of(member)),
        "halted": member.record.labels.get(HALTED_LABEL, ""),
    }


def _hanging_ms(status: Mapping[str, Any], voter: str) -> int | None:
    """None also while it is no longer than a busy disk may take."""
    hanging_ms = status["seen"].get(voter, {}).get("hanging_ms")
    return None if hanging_ms is None or hanging_ms < HANGS_MS else int(hanging_ms)


def _seconds(ms: int | None) -> float | None:
    return None if ms is None else ms / 1_000

"""`fabric doctor mesh`: facts become findings, worst first, and one JSON answer. Shapes are stable: keys are
added, never renamed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fabric.control.diagnosis import Diagnosis, Severity
from fabric.control.doctor_node import is_admitted_nowhere, node_diagnoses
from fabric.control.doctor_peers import peer_diagnoses
from fabric.runtime.mesh_exam import MeshExam, PeerExam

_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.NOTE: 2}


def diagnose(exam: MeshExam) -> tuple[Diagnosis, ...]:
    """Errors first; within one severity what is about this node before what is about peers."""
    found = list(node_diagnoses(exam))
    for peer in () if is_admitted_nowhere(exam) else exam.peers:
        found.extend(peer_diagnoses(exam, peer))
    return tuple(sorted(found, key=lambda each: (_ORDER[each.severity], each.peer is not None)))


def report(exam: MeshExam) -> dict[str, Any]:
    """`ok`: nothing but notes."""
    found = diagnose(exam)
    return {
        "ok": all(each.severity is Severity.NOTE for each in found),
        "node": exam.me.record.name,
        "id": exam.me.record.node_id,
        "isolated": exam.is_isolated,
        "members": exam.members,
        "examined": len(exam.peers),
        "left_out": exam.left_out,
        "whole": exam.is_whole,
        "took_s": round(exam.took_ms / 1_000, 2),
        "lag_ms": exam.lag_ms,
        "awareness": exam.awareness,
        "findings": _findings(found),
        "peers": [_peer(peer) for peer in exam.peers],
    }


def _findings(found: Sequence[Diagnosis]) -> list[dict[str, Any]]:
    return [
        {
            "check": each.check,
            "severity": each.severity.value,
            "peer": each.peer,
            "what": each.what,
            "cure": each.cure,
        }
        for each in found
    ]


def _peer(peer: PeerExam) -> dict[str, Any]:
    echo, seen = peer.echo, peer.seen
    return {
        "name": peer.name,
        "id": peer.node_id,
        "address": peer.member.record.endpoint,
        "state": peer.member.state.value,
        "age_s": round(peer.age_ms / 1_000, 1),
        "linked": peer.link is not None,
        "port": None if peer.knock is None else peer.knock.value,
        "rtt_ms": None if echo is None else round(echo.rtt_us / 1_000, 3),
        "error": peer.echo_error or None,
        "large_ok": None if echo is None else peer.large is not None,
        "clock_ahead_ms": None if echo is None else echo.clock_ahead_ms,
        "lag_ms": None if echo is None else echo.lag_ms,
        "sees_us": None if seen is None else seen.state or "unknown",
        "sees_us_age_s": None if seen is None else round(seen.age_ms / 1_000, 1),
        "same_table": peer.is_root_equal,
        "others": dict(sorted(peer.others.items())),
        "version": peer.member.record.software,
    }

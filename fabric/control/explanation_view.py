"""Explanations as JSON, for the API and the local socket. Keys may be added later, never renamed.

Whoever is no admin hears how many hosts lack what, as the fault of a server that fits nowhere tells it, and
what they could ask for instead: no host's name, and nothing else of what hosts have.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from fabric.control.explanations import Answer
from fabric.core.moves.model import Move
from fabric.core.placement.explain import Counterfactual, HostVerdict
from fabric.core.placement.extra_spec_values import unread_values
from fabric.core.placement.filters import Refusal
from fabric.core.placement.no_host import ADVICE_MAX
from fabric.core.placement.request import PlacementRequest
from fabric.core.placement.tally import Tally, summary, tallies
from fabric.core.servers.model import Server
from fabric.core.servers.states import api_status

VERDICTS_MAX = 1_000  # hosts told one by one; `refused` counts them all


def explanation(answer: Answer, *, is_admin: bool) -> dict[str, Any]:
    """Of all hosts: `why` and `explain`."""
    said = answer.explanation
    shown = {
        **_head(answer),
        "request": _request(said.request, is_admin=is_admin),
        "summary": summary(said),
        "fits": said.chosen is not None,
        "hosts": len(said.verdicts),
        "fitting": sum(not verdict.refusals for verdict in said.verdicts),
        "would_fit_if": _changes(said.counterfactuals, is_admin=is_admin),
    }
    if answer.server is not None:
        shown["server"] = _server(answer.server, is_admin=is_admin)
        shown["failed_move"] = _failed_move(answer.last_move, is_admin=is_admin)
    else:
        shown["count"] = {"asked": answer.count, "fit": sum(answer.fit.values())}
    if not is_admin:
        first = tallies(said.verdicts, first_only=True)
        return shown | {"refused": [_tally(each, with_free=said.chosen is None) for each in first]}
    if answer.server is None:
        shown["count"] |= {"hosts": dict(sorted(answer.fit.items()))}
    return shown | {
        "chosen": said.chosen,
        "would_move": _is_elsewhere(answer),
        "refused": [
            _tally(each, with_free=True) | {"nearest": [_nearest(*near) for near in each.nearest]}
            for each in tallies(said.verdicts)
        ],
        "verdicts": [verdict(each) for each in said.verdicts[:VERDICTS_MAX]],
        "verdicts_left_out": max(0, len(said.verdicts) - VERDICTS_MAX),
    }


def why_not(answer: Answer) -> dict[str, Any]:
    """Of one host. For admins."""
    (only,) = answer.explanation.verdicts
    assert answer.server is not None
    return {
        **_head(answer),
        "request": _request(answer.explanation.request, is_admin=True),
        "server": _server(answer.server, is_admin=True),
        "is_there": answer.server.host_name == answer.host_name,
        "chosen": answer.explanation.chosen,
        **verdict(only),
        "would_fit_if": _changes(answer.explanation.counterfactuals, is_admin=True),
    }


def verdict(each: HostVerdict) -> dict[str, Any]:
    return {
        "host": each.host_name,
        "fits": not each.refusals,
        "weight": None if each.weight is None else round(each.weight, 6),
        "weights": {name: round(weight, 6) for name, weight in each.weights.items()},
        "refusals": [_refusal(refusal) for refusal in each.refusals],
    }


def _is_elsewhere(answer: Answer) -> bool:
    """It has a host, and would get another one now."""
    chosen = answer.explanation.chosen
    host = None if answer.server is None else answer.server.host_name
    return host is not None and chosen is not None and host != chosen


def _head(answer: Answer) -> dict[str, Any]:
    return {
        "index": answer.index,
        "time": _time(answer.time_ms),
        "hints_not_in_force": list(answer.unread_hints),
        "extra_specs_not_understood": list(unread_values(answer.explanation.request.flavor.extra_specs)),
    }


def _server(server: Server, *, is_admin: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "id": server.server_id,
        "name": server.name,
        "project_id": server.project_id,
        "status": api_status(server.vm_state, server.task_state),
        "fault": None,
    }
    if server.fault is not None:
        shown["fault"] = {"message": server.fault.message, "created": _time(server.fault.created_ms)}
        if is_admin:
            shown["fault"]["details"] = server.fault.details
    return shown | {"host": server.host_name} if is_admin else shown


def _failed_move(move: Move | None, *, is_admin: bool) -> dict[str, Any] | None:
    """What a host says beyond the first line is not for everybody."""
    if move is None:
        return None
    shown: dict[str, Any] = {
        "kind": move.kind.value,
        "status": move.status.value,
        "message": move.message if is_admin else move.message.partition("\n")[0],
        "created": _time(move.created_ms),
    }
    return shown | {"from": move.source_name, "to": move.dest_name or move.host_wanted} if is_admin else shown


def _request(request: PlacementRequest, *, is_admin: bool) -> dict[str, Any]:
    group = request.group
    shown = {
        "flavor": request.flavor.name or None,
        "resources": dict(sorted(request.resources.total().items())),
        "required_traits": sorted(request.resources.required()),
        "forbidden_traits": sorted(request.resources.forbidden()),
        "image": request.image_id or None,
        "availability_zone": request.zone,
        "hints": {name: list(values) for name, values in sorted(request.hints.items())},
        "group": None if group is None else {"id": group.group_id, "policy": group.policy.value},
        "project_id": request.project_id,
    }
    if not is_admin:
        return shown
    failures = [{"host": host, "message": said} for host, said in request.failures]
    return shown | {"host": request.host_name, "failures": failures}


def _tally(each: Tally, *, with_free: bool) -> dict[str, Any]:
    return {
        "filter": each.filter_name,
        "reason": each.reason,
        "hosts": each.hosts,
        "needed": each.needed,
        "most_free": each.most_free if with_free else None,
        "unit": each.unit or None,
    }


def _nearest(host_name: str, refusal: Refusal) -> dict[str, Any]:
    return {
        "host": host_name,
        "needed": refusal.needed,
        "free": refusal.free,
        "remark": refusal.remark or None,
    }


def _refusal(refusal: Refusal) -> dict[str, Any]:
    return {
        "filter": refusal.filter_name,
        "reason": refusal.reason,
        "needed": refusal.needed,
        "free": refusal.free,
        "unit": refusal.unit or None,
        "remark": refusal.remark or None,
    }


def _changes(found: Sequence[Counterfactual], *, is_admin: bool) -> list[dict[str, Any]]:
    if not is_admin:
        found = [each for each in found if not each.is_admins][:ADVICE_MAX]
    shown = []
    for each in found:
        one: dict[str, Any] = {
            "text": each.text,
            "changes": [
                {
                    "kind": change.kind,
                    "subject": change.subject,
                    "value": change.value,
                    "text": change.text,
                }
                for change in each.changes
            ],
        }
        shown.append(one | {"host": each.host_name} if is_admin else one)
    return shown


def _time(wall_ms: int) -> str:
    return datetime.fromtimestamp(wall_ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

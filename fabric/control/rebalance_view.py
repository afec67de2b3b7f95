"""A plan of moves as JSON. Keys may be added later, never renamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabric.control.rebalance import Proposal
from fabric.core.placement.rebalance import Move

NOTE = (
    "These are proposals; nothing was changed. `openstack server migrate --host HOST SERVER` makes a "
    "move, with --live-migration while the server runs."
)


def proposal(found: Proposal) -> dict[str, Any]:
    plan = found.plan
    return {
        "index": found.index,
        "moves": [_move(move, found.names[move.server_id]) for move in plan.moves],
        "stuck": [
            {"server": server_id, "name": found.names[server_id], "host": host}
            for server_id, host in plan.stuck
        ],
        "spread": {"before": _shares(plan.spread_before), "after": _shares(plan.spread_after)},
        "partial": found.is_partial,
        "note": NOTE,
    }


def _move(move: Move, name: str) -> dict[str, Any]:
    return {
        "server": move.server_id,
        "name": name,
        "from": move.source,
        "to": move.target,
        "why": move.reason.value,
        "load": {
            "from": {"before": _shares(move.source_before), "after": _shares(move.source_after)},
            "to": {"before": _shares(move.target_before), "after": _shares(move.target_after)},
        },
    }


def _shares(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: round(share, 4) for name, share in sorted(shares.items())}

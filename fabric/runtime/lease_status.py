"""How long the roles are held without another word, as who leads knows it: for `fabric leaders`, asked over
the mesh by any member. A lease is liveness and no more; the fence is what keeps two holders apart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabric.errors import CommandRejectedError, FabricError
from fabric.mesh.rpc_contract import Rpc
from proto.codec import Plain
from proto.ids import NodeId

LEASES = "role.leases"
TIMEOUT_MS = 700  # `fabric leaders --watch` looks each second


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseSeen:
    role: str
    node_id: NodeId
    left_ms: int


def to_plain(leases: Sequence[LeaseSeen]) -> list[Plain]:
    return [{"role": each.role, "node_id": each.node_id, "left_ms": each.left_ms} for each in leases]


class LeaseStatus:
    """A duty of who leads. It tells nothing that a member may not know."""

    def __init__(
        self, rpc: Rpc, leases: Callable[[], Sequence[LeaseSeen]], is_member: Callable[[NodeId], bool]
    ) -> None:
        self._rpc = rpc
        self._leases = leases
        self._is_member = is_member

    async def run(self) -> None:
        """Until cancelled."""
        self._rpc.serve(LEASES, self._serve)
        try:
            await asyncio.Event().wait()
        finally:
            self._rpc.unserve(LEASES)

    async def _serve(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        del body
        if not self._is_member(peer):
            raise CommandRejectedError("forbidden", "Only a member of the fabric may ask.")
        return {"leases": to_plain(self._leases())}


async def ask_leases(rpc: Rpc, conductor: NodeId) -> tuple[LeaseSeen, ...]:
    """Nothing where it does not answer, or does not conduct any more: a table without leases is still one."""
    try:
        answer = await rpc.call(conductor, LEASES, {}, timeout_ms=TIMEOUT_MS)
    except FabricError:
        return ()
    rows = answer.get("leases") if isinstance(answer, dict) else None
    return tuple(filter(None, map(_seen, rows))) if isinstance(rows, list) else ()


def _seen(row: Any) -> LeaseSeen | None:
    match row:
        case {"role": str(role), "node_id": str(node_id), "left_ms": int(left_ms)}:
            return LeaseSeen(role=role, node_id=NodeId(node_id), left_ms=left_ms)
    return None

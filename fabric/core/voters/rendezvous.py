"""Highest random weight: everybody who knows the same nodes ranks them alike, and one that comes or goes
moves nothing but its own."""

from __future__ import annotations

from hashlib import blake2b

from proto.ids import NodeId


def weight(purpose: str, node_id: NodeId) -> int:
    """Source: Thaler and Ravishankar, 1998."""
    return int.from_bytes(blake2b(f"{purpose}/{node_id}".encode(), digest_size=8).digest())

"""All that this node knows of one node, for `fabric node show`. Answered from this node alone, also when it
is cut off."""

from __future__ import annotations

from typing import Any

from fabric.control import operate
from fabric.core.membership.model import LinkView, Member, RoleClaim
from fabric.core.placement.host_word import ADDRESS_BYTES, read_word
from fabric.runtime.clock import Clock
from fabric.runtime.mesh_view import MeshView
from proto.certificate import decode_signed, parse_certificate_body
from proto.errors import WireError


def node(view: MeshView, clock: Clock, text: str) -> dict[str, Any]:
    """By name, id, or beginning of an id. Keys may be added later, never renamed. Raises NoSuchNodeError."""
    member = operate.find(view, text)
    record = member.record
    (row,) = [row for row in operate.members(view, clock) if row["id"] == record.node_id]
    word = read_word(member.load.extra)
    link = next((link for link in view.links() if link.node_id == record.node_id), None)
    return row | {
        "epoch": record.epoch,
        "incarnation": record.incarnation,
        "record_version": record.version,
        "boot_id": record.boot_id.hex(),
        "curve_public": record.curve_public.hex(),
        "roles": [_role(claim) for claim in record.roles],
        "capacity": row["capacity"] | {"extra": dict(member.load.extra)},
        "drain_reason": operate.drain_reason(member),
        "failed_builds": word.failed_builds,
        "images_cached": len(word.images) // ADDRESS_BYTES,
        "metrics": dict(word.metrics),
        "link": None if link is None else _link(link, clock.monotonic_ms()),
        "certificate": _certificate(member, clock),
    }


def _role(claim: RoleClaim) -> dict[str, Any]:
    return {"role": claim.role, "fence": claim.fence, "since": claim.since_ms / 1_000}


def _link(link: LinkView, now_ms: int) -> dict[str, Any]:
    return {
        "up": link.is_up,
        "eager": link.is_eager,
        "ring": link.is_ring,
        "bad": link.is_bad,
        "since_s": max(0, now_ms - link.since_ms) / 1_000,
        "changed_s": max(0, now_ms - link.changed_ms) / 1_000,
        "lag_ms": link.lag_ms,
    }


def _certificate(member: Member, clock: Clock) -> dict[str, Any] | None:
    """As membership has proven it. None: not readable, which no member's is."""
    try:
        certificate = parse_certificate_body(decode_signed(member.record.certificate).body)
    except WireError:
        return None
    return {
        "serial": f"{certificate.serial:016x}",
        "generation": certificate.generation,
        "roles": list(certificate.roles),
        "not_before": certificate.not_before_ms / 1_000,
        "not_after": certificate.not_after_ms / 1_000,
        "expires_in_s": (certificate.not_after_ms - clock.wall_ms()) // 1_000,
    }

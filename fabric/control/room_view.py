"""Capacity as JSON, for the API and the local socket. Keys may be added later, never renamed."""

from __future__ import annotations

from typing import Any

from fabric.control.room import By, Room, RoomReport
from fabric.core.placement.usage import Usage


def report(found: RoomReport) -> dict[str, Any]:
    return {
        "by": found.by.value,
        "index": found.index,
        "flavor": found.flavor,
        "rooms": [_room(room, found.by) for room in found.rooms],
        "total": _sums(found.total),
    }


def _room(room: Room, by: By) -> dict[str, Any]:
    shown = {by.value: room.name, **_sums(room)}
    if by is By.HOST:
        shown |= {
            "zone": room.zone,
            "aggregates": list(room.aggregates),
            "state": room.state,
            "enabled": room.enabled,
        }
    return shown


def _sums(room: Room) -> dict[str, Any]:
    return {
        "hosts": room.hosts,
        "taking": room.taking,
        "servers": room.servers,
        "resources": {name: _usage(usage) for name, usage in sorted(room.usage.items())},
        "fits": room.fits,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "total": usage.total,
        "reserved": usage.reserved,
        "ratio": round(usage.ratio, 3),
        "capacity": usage.capacity,
        "used": usage.used,
        "free": usage.free,
        "overcommit": round(usage.overcommit, 3),
    }

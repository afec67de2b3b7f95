"""Which join tokens may still be used, and why the others may not."""

from __future__ import annotations

from dataclasses import replace

from fabric.control.token_view import token, usable_count
from fabric.core.nodes.model import JoinToken
from proto.ids import TokenId

DOOR = b"d" * 32
NOW_MS = 1_000_000
GOOD = JoinToken(
    token_id=TokenId("t"), secret_hash=b"h", expires_ms=NOW_MS + 5_000, uses_left=2, door_public=DOOR
)


def status_of(row: JoinToken) -> str:
    return str(token(row, door_public=DOOR, now_ms=NOW_MS)["status"])


def test_each_reason_has_its_word() -> None:
    assert token(GOOD, door_public=DOOR, now_ms=NOW_MS) == {
        "id": "t",
        "uses_left": 2,
        "expires_in_s": 5,
        "status": "usable",
    }
    assert status_of(replace(GOOD, door_public=b"")) == "usable"  # made before its key was kept
    assert status_of(replace(GOOD, door_public=b"o" * 32)) == "old_door_key"
    assert status_of(replace(GOOD, uses_left=0)) == "used_up"
    assert status_of(replace(GOOD, expires_ms=NOW_MS)) == "expired"


def test_a_rotation_counts_what_it_makes_worthless() -> None:
    rows = [
        GOOD,
        replace(GOOD, uses_left=0),
        replace(GOOD, expires_ms=1),
        replace(GOOD, door_public=b"o" * 32),
    ]
    assert usable_count(rows, door_public=DOOR, now_ms=NOW_MS) == 1

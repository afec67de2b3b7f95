"""Join tokens as the operator sees them: which may still be used, and why the others may not."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any

from fabric.core.nodes.model import JoinToken


class TokenStatus(StrEnum):
    USABLE = "usable"
    USED_UP = "used_up"
    EXPIRED = "expired"
    OLD_DOOR_KEY = "old_door_key"  # the door has another key by now, so who holds the token cannot reach it


def status(token: JoinToken, *, door_public: bytes, now_ms: int) -> TokenStatus:
    """`door_public` is the door's present key. Tokens older than the record of their key pass for usable."""
    if now_ms >= token.expires_ms:
        return TokenStatus.EXPIRED
    if token.uses_left < 1:
        return TokenStatus.USED_UP
    if token.door_public not in (b"", door_public):
        return TokenStatus.OLD_DOOR_KEY
    return TokenStatus.USABLE


def usable_count(tokens: Iterable[JoinToken], *, door_public: bytes, now_ms: int) -> int:
    found = [status(token, door_public=door_public, now_ms=now_ms) for token in tokens]
    return found.count(TokenStatus.USABLE)


def token(row: JoinToken, *, door_public: bytes, now_ms: int) -> dict[str, Any]:
    return {
        "id": row.token_id,
        "uses_left": row.uses_left,
        "expires_in_s": (row.expires_ms - now_ms) // 1_000,
        "status": status(row, door_public=door_public, now_ms=now_ms).value,
    }

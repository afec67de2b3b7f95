"""A key pair as JSON."""

from __future__ import annotations

import zlib
from typing import Any

from fabric.api.compute.versions import v
from fabric.api.compute.views.times import micros
from fabric.api.microversion import Microversion
from fabric.core.catalog.model import Keypair


def listed(keypair: Keypair, version: Microversion) -> dict[str, Any]:
    result: dict[str, Any] = {
        "name": keypair.name,
        "public_key": keypair.public_key,
        "fingerprint": keypair.fingerprint,
    }
    if version >= v(2):
        result["type"] = keypair.key_type
    return result


def created(keypair: Keypair, private_key: str | None, version: Microversion) -> dict[str, Any]:
    result = listed(keypair, version) | {"user_id": keypair.user_id}
    if private_key is not None:
        result["private_key"] = private_key
    return result


def shown(keypair: Keypair, version: Microversion) -> dict[str, Any]:
    """`id` is a row number in Nova that no call takes; here a stable number of the key's owner and name."""
    return listed(keypair, version) | {
        "user_id": keypair.user_id,
        "id": zlib.crc32(f"{keypair.user_id}/{keypair.name}".encode()) & 0x7FFFFFFF,
        "deleted": False,
        "created_at": micros(keypair.created_ms),
        "updated_at": None,
        "deleted_at": None,
    }

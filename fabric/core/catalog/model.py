"""Flavors and key pairs as rows know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from proto.ids import FlavorId, ProjectId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavor:
    flavor_id: FlavorId
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int
    swap_mb: int
    is_public: bool
    description: str | None
    rxtx_factor_milli: int
    extra_specs: Mapping[str, str]
    access_project_ids: tuple[ProjectId, ...]
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Keypair:
    user_id: UserId
    name: str
    key_type: str
    public_key: str
    fingerprint: str
    created_ms: int

"""What may be asked about flavors and key pairs."""

from __future__ import annotations

from dataclasses import dataclass, field

from fabric.core.catalog.model import Flavor, Keypair
from fabric.core.queries import Page, Query
from proto.ids import FlavorId, ProjectId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class GetFlavor(Query[Flavor | None]):
    flavor_id: FlavorId


@dataclass(frozen=True, slots=True, kw_only=True)
class ListFlavors(Query[tuple[Flavor, ...]]):
    """`visible_to` None: all (admin). `is_public` None: both kinds. `name_regex`: unanchored. Default order:
    flavorid asc."""

    visible_to: ProjectId | None = None
    is_public: bool | None = True
    min_disk_gb: int | None = None
    min_ram_mb: int | None = None
    name_regex: str | None = None
    page: Page = field(default_factory=Page)


@dataclass(frozen=True, slots=True, kw_only=True)
class GetKeypair(Query[Keypair | None]):
    user_id: UserId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListKeypairs(Query[tuple[Keypair, ...]]):
    """By name."""

    user_id: UserId
    page: Page = field(default_factory=Page)

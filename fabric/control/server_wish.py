"""What a user asks for who asks for servers, before and after what it names is looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.control.scheduler_hints import Wishes
from fabric.control.server_networks import NetworkWish, NicPlan
from fabric.core.catalog.model import Flavor, Keypair
from fabric.core.images.model import Image
from proto.ids import ProjectId, ServerId


@dataclass(frozen=True, slots=True, kw_only=True)
class NewServer:
    """A create request in our terms, its form already checked. `zone` may be "zone:host"."""

    name: str
    image_ref: str
    flavor_ref: str
    networks: NetworkWish = field(default_factory=NetworkWish)
    key_name: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    user_data: bytes | None = None
    config_drive: bool = False
    zone: str | None = None
    host: str | None = None
    hypervisor_hostname: str | None = None
    admin_pass: str | None = None
    description: str | None = None
    tags: tuple[str, ...] = ()
    hostname: str | None = None
    hints: Mapping[str, object] = field(default_factory=dict)  # any JSON values
    min_count: int = 1
    max_count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedServers:
    server_ids: tuple[ServerId, ...]
    reservation_id: str
    admin_pass: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatePlan:
    """What all servers of one request share: the wish, with everything that it names looked up."""

    wish: NewServer
    project_id: ProjectId
    flavor: Flavor
    image: Image
    keypair: Keypair | None
    nics: NicPlan
    zone: str | None
    host_name: str | None
    wishes: Wishes
    admin_pass: str
    reservation_id: str

"""What tenants choose from: flavors, key pairs, images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from proto.commands.base import Command, command
from proto.ids import FlavorId, ImageId, NodeId, ProjectId, UserId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorCreate(Command):
    """Rejected `conflict` when the id or the name exists."""

    KIND = "flavor.create"
    flavor_id: FlavorId
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    is_public: bool = True
    description: str | None = None
    rxtx_factor_milli: int = 1_000


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorUpdate(Command):
    """`extra_specs_set` is merged, `extra_specs_unset` removed, access lists likewise."""

    KIND = "flavor.update"
    flavor_id: FlavorId
    description: str | None = None
    extra_specs_set: Mapping[str, str] = field(default_factory=dict)
    extra_specs_unset: tuple[str, ...] = ()
    access_add: tuple[ProjectId, ...] = ()
    access_remove: tuple[ProjectId, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorDelete(Command):
    KIND = "flavor.delete"
    flavor_id: FlavorId


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class KeypairCreate(Command):
    """Rejected `conflict` when the user has a key pair of that name; `quota` above the limit."""

    KIND = "keypair.create"
    user_id: UserId
    project_id: ProjectId
    name: str
    key_type: str  # "ssh" or "x509"
    public_key: str
    fingerprint: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class KeypairDelete(Command):
    KIND = "keypair.delete"
    user_id: UserId
    name: str


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageCreate(Command):
    """Makes the record, status `queued`. Bytes come later, see ImageActivate."""

    KIND = "image.create"
    image_id: ImageId
    project_id: ProjectId
    name: str | None = None
    visibility: str = "shared"  # public, private, shared, community
    disk_format: str | None = None
    container_format: str | None = None
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    protected: bool = False
    os_hidden: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageUpdate(Command):
    """The record's new whole value of what a PATCH may change; `read_generation` guards lost updates
    (rejected `stale`)."""

    KIND = "image.update"
    image_id: ImageId
    read_generation: int
    name: str | None = None
    visibility: str = "shared"
    disk_format: str | None = None
    container_format: str | None = None
    min_disk_gb: int = 0
    min_ram_mb: int = 0
    protected: bool = False
    os_hidden: bool = False
    properties: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageActivate(Command):
    """The bytes are stored and verified. Rejected `bad_state` unless queued or saving."""

    KIND = "image.activate"
    image_id: ImageId
    size_bytes: int
    virtual_bytes: int | None
    md5: str
    sha512: str
    sha256: str  # content address: where holders keep the bytes
    node_id: NodeId  # who holds them first


@command
@dataclass(frozen=True, slots=True, kw_only=True)
class ImageDelete(Command):
    """Rejected `forbidden` when protected. Allowed while servers use it, as Glance allows."""

    KIND = "image.delete"
    image_id: ImageId

"""A server as rows know it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.moves.model import MoveOfServer, ParkedServer
from fabric.core.networks.model import Port, SecurityGroup, Subnet
from fabric.core.servers.states import Desired, PowerState, TaskState, VmState
from fabric.core.topology.model import Grant
from proto.ids import FlavorId, ImageId, NodeId, ProjectId, RequestId, ServerGroupId, ServerId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a server is in ERROR. `details` is for admins (Nova shows it to them only)."""

    code: int
    message: str
    details: str
    created_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorSnapshot:
    """The flavor as it was when the server was made: deleting a flavor changes no server."""

    flavor_id: FlavorId
    name: str
    vcpus: int
    memory_mb: int
    root_gb: int
    ephemeral_gb: int
    swap_mb: int
    extra_specs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    server_id: ServerId
    project_id: ProjectId
    user_id: UserId
    request_id: RequestId  # of the latest action
    name: str
    hostname: str
    description: str | None
    flavor: FlavorSnapshot
    image_id: ImageId
    zone_wanted: str | None
    host_wanted: str | None  # a host's name
    host_id: NodeId | None  # None until placed
    host_name: str | None
    zone: str | None
    key_name: str | None
    key_type: str
    public_key: str | None
    user_data: bytes | None
    admin_pass: str | None
    metadata: Mapping[str, str]
    tags: tuple[str, ...]
    config_drive: bool
    launch_index: int
    reservation_id: str
    vm_state: VmState
    task_state: TaskState | None
    desired: Desired
    power_state: PowerState
    generation: int  # every write bumps it
    action_generation: int  # the generation of the latest user action or placement: what a host works on
    deadline_ms: int | None  # set while a task is under way
    locked: bool
    locked_reason: str | None
    fault: Fault | None
    created_ms: int
    updated_ms: int
    launched_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerView:
    """A server with the ports the API shows beside it, in NIC order. `server_group_id` is told where one
    server is asked for; in lists it is None."""

    server: Server
    ports: tuple[Port, ...]
    security_groups: tuple[str, ...]  # names
    server_group_id: ServerGroupId | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a server was asked for with, beside what its row says. `image_properties`: its image's, as they
    are now; empty where the image is gone. `hints`: the scheduler's, with `group`."""

    image_properties: Mapping[str, str] = field(default_factory=dict)
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource:
    """What a host must fetch to boot: content address, where from, how to read it."""

    image_id: ImageId
    sha256: str
    size_bytes: int
    disk_format: str
    node_id: NodeId  # a holder
    min_disk_gb: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkForHost:
    network_id: str
    name: str
    strategy: str
    physical_network: str | None
    mtu: int
    subnets: tuple[Subnet, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssignedServer:
    """Everything its host needs to bring a server about: desired state, not a message."""

    server: Server
    ports: tuple[Port, ...]
    networks: tuple[NetworkForHost, ...]  # those the ports name
    image: ImageSource | None  # None: the image is gone (an existing disk still boots)
    kernel: ImageSource | None = None  # image property kernel_id
    ramdisk: ImageSource | None = None  # image property ramdisk_id
    kernel_args: str = ""  # image property os_command_line
    move: MoveOfServer | None = None  # one that is not over
    is_from_shelf: bool = False  # `image` is what it was: nothing that lies here of former times counts
    image_properties: Mapping[str, str] = field(default_factory=dict)
    grant: Grant | None = None  # of the host's cells and devices; None: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class HostAssignments:
    """The desired state of one host at one index. `server_ids` is always complete: anything of ours on
    the host that is not in it must go. `servers` holds those changed after the `since_index` asked for,
    oldest change first; `more` says that it was cut, and to ask again from `next_since`."""

    host_id: NodeId
    applied_index: int
    server_ids: tuple[ServerId, ...]
    servers: tuple[AssignedServer, ...]
    more: bool
    next_since: int
    security_groups: tuple[SecurityGroup, ...]  # those that ports of this host name, with rules
    group_addresses: Mapping[str, tuple[str, ...]]  # group id -> addresses, for groups that rules name
    parked: tuple[ParkedServer, ...] = ()  # always complete; none of them is in `server_ids`
    arriving_ids: tuple[ServerId, ...] = ()  # always complete: guests that come live, another host's still
    arriving: tuple[AssignedServer, ...] = ()  # as many of them as the answer has room for
    is_enabled: bool = True  # False: the host is drained, and takes no new servers
    disabled_reason: str = ""  # why, as the operator said

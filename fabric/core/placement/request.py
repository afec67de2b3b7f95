"""What the scheduler is asked: one server, with all that may decide where it goes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fabric.core.moves.model import Move
from fabric.core.placement.resources import ResourceRequest, misnamed, resource_request
from fabric.core.server_groups.model import GroupPolicy
from fabric.core.servers.model import FlavorSnapshot, Server
from fabric.core.servers.shelved import Shelved
from fabric.core.topology.wish import TopologyError, TopologyWish, wish_of
from proto.ids import ImageId, NodeId, ProjectId, RequestId, ServerId

NO_REQUEST = RequestId("")
NO_IMAGE = ImageId("")  # of a server that boots from a volume


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWish:
    """The server group that the server is a member of."""

    group_id: str
    policy: GroupPolicy
    max_server_per_host: int = 1  # of anti-affinity


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementRequest:
    """`resources` and `topology` are worked out of flavor and image once, for every host alike."""

    server_id: ServerId
    project_id: ProjectId
    flavor: FlavorSnapshot
    image_id: ImageId = NO_IMAGE
    image_sha256: str = ""  # of its bytes; "": there are none yet, or there is no such image any more
    image_properties: Mapping[str, str] = field(default_factory=dict)
    zone: str | None = None  # asked for
    host_name: str | None = None  # requested destination
    hints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    group: GroupWish | None = None
    ignored_hosts: frozenset[NodeId] = frozenset()  # tried already, or the one it moves away from
    move_id: str = ""  # of the move that waits for a host; "": the server has no host yet
    moves_from: NodeId | None = None
    failures: tuple[tuple[str, str], ...] = ()  # (host's name, what it said) of builds that failed, in order
    generation: int = 0  # of the server's row when it was read
    request_id: RequestId = NO_REQUEST  # of the action that asks
    resources: ResourceRequest = field(init=False)
    misnamed: tuple[str, ...] = field(init=False, default=())  # extra specs that name what nothing is called
    topology: TopologyWish | None = field(init=False, default=None)
    topology_fault: str = field(init=False, default="")  # why nobody can be asked for what its flavor wants

    @property
    def kind(self) -> object:
        """Equal for requests that no filter can tell apart. Can be hashed."""
        return (
            *(self.project_id, self.flavor.flavor_id, self.image_id, self.zone, self.host_name, self.group),
            tuple(sorted(self.flavor.extra_specs.items())),
            tuple(sorted(self.image_properties.items())),
            tuple(sorted(self.hints.items())),
            *(self.ignored_hosts, self.failures),
        )

    def __post_init__(self) -> None:
        object.__setattr__(self, "resources", resource_request(self.flavor, self.image_properties))
        object.__setattr__(self, "misnamed", misnamed(self.flavor.extra_specs))
        try:
            wish, fault = wish_of(self.flavor), ""
        except TopologyError as error:
            wish, fault = None, str(error)
        object.__setattr__(self, "topology", wish)
        object.__setattr__(self, "topology_fault", fault)


def request_of(
    server: Server,
    *,
    image_sha256: str = "",
    image_properties: Mapping[str, str] | None = None,
    hints: Mapping[str, tuple[str, ...]] | None = None,
    group: GroupWish | None = None,
    ignored_hosts: frozenset[NodeId] = frozenset(),
    failures: tuple[tuple[str, str], ...] = (),
    move: Move | None = None,
    shelved: Shelved | None = None,
) -> PlacementRequest:
    """Of a server's row, and of what stands beside it. One that moves goes anywhere but where it is; the host
    that its create may have asked for does not bind it, nor one that was shelved, which is built from its own
    image."""
    if move is not None:
        ignored_hosts |= {move.source_host_id}
    host_name = server.host_wanted if shelved is None else shelved.host_wanted
    return PlacementRequest(
        server_id=server.server_id,
        project_id=server.project_id,
        flavor=server.flavor,
        image_id=server.image_id if shelved is None else shelved.image_id,
        image_sha256=image_sha256,
        image_properties=image_properties or {},
        zone=server.zone_wanted,
        host_name=host_name if move is None else move.host_wanted,
        hints=hints or {},
        group=group,
        ignored_hosts=ignored_hosts,
        move_id="" if move is None else move.move_id,
        moves_from=None if move is None else move.source_host_id,
        failures=failures,
        generation=server.generation,
        request_id=server.request_id,
    )

"""Who serves the cloud, told in Nova's words: every host is a `nova-compute`, every holder of a cluster
role a `nova-conductor`, `nova-scheduler` or `nova-api`.

Whether one is up comes from the membership table, never from a row.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.core.membership.model import Member, MemberState
from fabric.core.nodes.model import Host, HostUsage
from fabric.core.nodes.queries import ListHosts
from proto.commands.nodes import HostUpdate
from proto.ids import NodeId

COMPUTE = "nova-compute"
INTERNAL_ZONE = "internal"  # where Nova shows services that run no servers
_BINARY_OF_ROLE = {"conductor": "nova-conductor", "scheduler": "nova-scheduler", "api": "nova-api"}
_NUMBER_BASE = 1 << 28  # numbers of role services begin here; hosts' own numbers stay far below
REASON_CHARS_MAX = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """`host` is None for services that are no hosts: they cannot be disabled."""

    uuid: str
    number: int
    binary: str
    node_id: NodeId
    node_name: str
    zone: str
    is_up: bool
    heard_wall_ms: int | None  # when there was last evidence of life, None: not since we started
    host: Host | None


async def list_services(
    cloud: Cloud, caller: Caller, *, node_name: str | None = None, binary: str | None = None
) -> tuple[Service, ...]:
    """Hosts first by number, then role holders by binary and name. Raises: ForbiddenError."""
    policy.require(caller, "compute:services:list")
    return tuple(
        service
        for service in await all_services(cloud)
        if (node_name is None or service.node_name == node_name)
        and (binary is None or service.binary == binary)
    )


async def find_service(cloud: Cloud, caller: Caller, service_uuid: str) -> Service:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:services:show")
    for service in await all_services(cloud):
        if service.uuid == service_uuid:
            return service
    raise NotFoundError(f"Service {service_uuid} could not be found.")


async def find_by_host(cloud: Cloud, caller: Caller, node_name: str, binary: str) -> Service:
    """How services were named before 2.53. Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:services:show")
    found = await list_services(cloud, caller, node_name=node_name, binary=binary)
    if not found:
        raise NotFoundError(f"Could not find binary {binary} on host {node_name}.")
    return found[0]


async def update_service(
    cloud: Cloud,
    caller: Caller,
    service: Service,
    *,
    enabled: bool | None = None,
    disabled_reason: str | None = None,
    forced_down: bool | None = None,
) -> Service:
    """Disabled hosts get no new servers; forced-down ones count as down whatever they say.

    Raises: ForbiddenError, InvalidError (not a host).
    """
    policy.require(caller, "compute:services:update")
    if service.host is None:
        raise InvalidError(f"Updating a {service.binary} service is not supported. Must be {COMPUTE}.")
    command = HostUpdate(
        host_id=service.node_id,
        enabled=enabled,
        disabled_reason=disabled_reason,
        forced_down=forced_down,
    )
    await propose(cloud, command, request_id=caller.request_id)
    return await find_service(cloud, caller, service.uuid)


async def delete_service(cloud: Cloud, caller: Caller, service_uuid: str) -> None:
    """Always refused: a service is what a member node does, not a row. Raises: ConflictError and
    what `find_service` raises."""
    policy.require(caller, "compute:services:delete")
    service = await find_service(cloud, caller, service_uuid)
    raise ConflictError(
        f"Service {service.uuid} ({service.binary} on {service.node_name}) cannot be deleted: it lasts as "
        "long as its node is a member of the fabric. Remove the node instead."
    )


async def hosts_by_name(cloud: Cloud) -> dict[str, Host]:
    return {usage.host.name: usage.host for usage in await cloud.state.read(ListHosts())}


async def host_statuses(cloud: Cloud) -> Mapping[str, str]:
    """Nova's `host_status` by host name: UP, DOWN (forced), MAINTENANCE (disabled), UNKNOWN (silent)."""
    return {name: _host_status(cloud, host) for name, host in (await hosts_by_name(cloud)).items()}


def is_answering(cloud: Cloud, node_id: NodeId) -> bool:
    """What Nova calls up: its agent answers, as far as this node knows. A suspicion is only a question. A
    stalled agent reports nothing and one that is being stopped takes nothing, so both are down, while
    their guests run: Nova shows a host so whose nova-compute hangs or is stopped."""
    member = cloud.fleet.member(node_id)
    return member is not None and member.state in (MemberState.ALIVE, MemberState.SUSPECT)


def is_host_up(cloud: Cloud, host: Host) -> bool:
    return is_answering(cloud, host.host_id) and not host.forced_down


def service_uuid(node_id: NodeId, binary: str) -> str:
    """Stable over restarts and the same on every node: nothing needs to be stored."""
    return str(uuid.uuid5(_as_uuid(node_id), binary))


def node_uuid(node_id: NodeId) -> str:
    """A node id in the form of a UUID: the hypervisor's id from 2.53."""
    return str(_as_uuid(node_id))


def _as_uuid(node_id: NodeId) -> uuid.UUID:
    return uuid.UUID(hex=node_id)


def _host_status(cloud: Cloud, host: Host) -> str:
    if host.forced_down:
        return "DOWN"
    if not is_answering(cloud, host.host_id):
        return "UNKNOWN"
    return "UP" if host.enabled else "MAINTENANCE"


async def all_services(cloud: Cloud) -> list[Service]:
    usages = await cloud.state.read(ListHosts())
    return [_compute_service(cloud, usage) for usage in usages] + _role_services(cloud)


def _compute_service(cloud: Cloud, usage: HostUsage) -> Service:
    host = usage.host
    return Service(
        uuid=service_uuid(host.host_id, COMPUTE),
        number=host.number,
        binary=COMPUTE,
        node_id=host.host_id,
        node_name=host.name,
        zone=host.zone,
        is_up=is_host_up(cloud, host),
        heard_wall_ms=heard_wall_ms(cloud, cloud.fleet.member(host.host_id)),
        host=host,
    )


def _role_services(cloud: Cloud) -> list[Service]:
    services = []
    for member in cloud.fleet.members():
        for claim in member.record.roles:
            binary = _BINARY_OF_ROLE.get(claim.role)
            if binary is None:
                continue
            identity = service_uuid(member.record.node_id, binary)
            services.append(
                Service(
                    uuid=identity,
                    number=_NUMBER_BASE + int(identity[:7], 16),
                    binary=binary,
                    node_id=member.record.node_id,
                    node_name=member.record.name,
                    zone=INTERNAL_ZONE,
                    is_up=is_answering(cloud, member.record.node_id),
                    heard_wall_ms=heard_wall_ms(cloud, member),
                    host=None,
                )
            )
    return sorted(services, key=lambda service: (service.binary, service.node_name))


def heard_wall_ms(cloud: Cloud, member: Member | None) -> int | None:
    """The monotonic moment of the last evidence of life, as wall time."""
    if member is None:
        return None
    age_ms = max(0, cloud.clock.monotonic_ms() - member.heard_ms)
    return cloud.clock.wall_ms() - age_ms

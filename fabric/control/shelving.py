"""Servers shelved and unshelved. Where to is the scheduler's choice, by the road that new servers take."""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError
from fabric.control.propose import propose
from fabric.control.servers import find, require_unlocked
from fabric.control.services import hosts_by_name
from fabric.control.zones import usable_zones
from fabric.core.servers.model import ServerView
from fabric.core.servers.states import VmState
from fabric.runtime.level_watch import levels_of
from proto.commands.shelving import ServerShelve, ServerUnshelve
from proto.ids import ImageId, new_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """What the user says of where it is to be built. `changes_zone`: `zone` replaces the one that it is bound
    to, None being no zone."""

    changes_zone: bool = False
    zone: str | None = None
    host: str | None = None


ANYWHERE = Where()


async def shelve(cloud: Cloud, caller: Caller, server_id: str) -> None:
    """It becomes an image of its project's, and gives its host back. Returns once that is durable.

    Raises: ForbiddenError, NotFoundError, ConflictError, UnavailableError."""
    policy.require(caller, "compute:servers:shelve")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    _need_able(cloud, view)
    command = ServerShelve(
        server_id=view.server.server_id,
        image_id=ImageId(new_uuid()),
        user_id=caller.user_id,
        request_id=caller.request_id,
        deadline_ms=cloud.clock.wall_ms() + cloud.move_deadline_ms,
    )
    await propose(cloud, command, request_id=caller.request_id)


async def offload(cloud: Cloud, caller: Caller, server_id: str) -> None:
    """A shelved server gives its host back. Here shelving does that at once, so there is never one to do it
    to. Raises: ForbiddenError, NotFoundError, ConflictError."""
    policy.require(caller, "compute:servers:shelve_offload")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    raise ConflictError(
        f"Cannot 'shelveOffload' instance {view.server.server_id} while it is in "
        f"vm_state {view.server.vm_state.value}"
    )


async def unshelve(cloud: Cloud, caller: Caller, server_id: str, where: Where = ANYWHERE) -> None:
    """It is built again from its image, with its addresses. Returns once that is durable.

    Raises: ForbiddenError, NotFoundError, InvalidError (`where`), ConflictError, UnavailableError."""
    policy.require(caller, "compute:servers:unshelve")
    if where.host is not None:
        policy.require(caller, "compute:servers:unshelve_to_host")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    if view.server.vm_state is VmState.SHELVED_OFFLOADED:
        await _check(cloud, view, where)
    command = ServerUnshelve(
        server_id=view.server.server_id,
        request_id=caller.request_id,
        changes_zone=where.changes_zone,
        zone=where.zone,
        host_name=where.host,
        deadline_ms=cloud.clock.wall_ms() + cloud.build_deadline_ms,
    )
    await propose(cloud, command, request_id=caller.request_id)


async def _check(cloud: Cloud, view: ServerView, where: Where) -> None:
    hosts = await hosts_by_name(cloud)
    if where.zone is not None and where.zone not in usable_zones(hosts.values()):
        raise InvalidError("The requested availability zone is not available")
    if where.host is None:
        return
    if where.host not in hosts:
        raise InvalidError(f"Compute host {where.host} could not be found.")
    zone = where.zone if where.changes_zone else view.server.zone_wanted
    if zone is not None and hosts[where.host].zone != zone:
        raise ConflictError(f'Host "{where.host}" is not in the availability zone "{zone}".')


def _need_able(cloud: Cloud, view: ServerView) -> None:
    """A host whose program is from before shelving would never do it."""
    host_id = view.server.host_id
    member = None if host_id is None else cloud.fleet.member(host_id)
    if member is not None and not levels_of(member).can(ServerShelve.LEVEL):
        raise ConflictError(
            f"Instance {view.server.server_id} is on a host whose program is from before shelving: have it "
            "upgraded, then try again."
        )

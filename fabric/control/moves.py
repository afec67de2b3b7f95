"""Servers that go from host to host: cold migration and evacuation asked for, confirmed, taken back, listed.

Where to is the scheduler's choice, by the road that new servers take. What is said here of a host that is up
or down is the membership table's word, as everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError, NotFoundError
from fabric.control.propose import propose
from fabric.control.servers import find, require_unlocked
from fabric.control.services import hosts_by_name, is_host_up
from fabric.core.moves.model import Move, MoveKind, cannot_in, why_not_now
from fabric.core.moves.queries import GetOpenMove, ListMoves, MoveFilter
from fabric.core.nodes.model import Host
from fabric.core.queries import BadFilterError
from fabric.core.servers.model import Server, ServerView
from fabric.core.servers.states import VmState
from fabric.errors import CommandRejectedError
from fabric.runtime.level_watch import levels_of
from proto.commands.moves import MoveBegin, MoveConfirm, MoveRevert
from proto.ids import new_uuid


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMove:
    """`dest_address`: where the other host's agent is, "" before there is one."""

    move: Move
    dest_address: str


async def migrate(cloud: Cloud, caller: Caller, server_id: str, *, host: str | None) -> None:
    """To `host`, or wherever the scheduler finds. Returns once that is durable.

    Raises: ForbiddenError, NotFoundError, InvalidError (`host`), ConflictError, UnavailableError."""
    policy.require(caller, "compute:servers:migrate")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    _need_state(view, MoveKind.MIGRATION)
    hosts = await hosts_by_name(cloud)
    if host is not None and host not in hosts:
        raise InvalidError(f"Compute host {host} could not be found.")
    source = source_of(view, hosts, MoveKind.MIGRATION)
    if host == source.name:
        raise InvalidError("Cannot migrate to the host where the server exists. Name another, or none.")
    if not is_host_up(cloud, source):
        raise ConflictError(
            f"Compute host {source.name} is down: instance {server_id} cannot be copied from there. If it is "
            "not coming back, evacuate the instance."
        )
    need_able(cloud, source)
    await begin(cloud, caller, view, source, MoveKind.MIGRATION, host=host)


async def evacuate(
    cloud: Cloud, caller: Caller, server_id: str, *, host: str | None, stays_off: bool
) -> None:
    """Its host is down: it is built anew elsewhere, with its addresses and from its image. What it had on the
    disks of the dead host is not in it; when that host is back it drops its copy, and only when the new one
    runs.

    Raises: ForbiddenError, NotFoundError, InvalidError (the host is up; `host`), ConflictError,
    UnavailableError."""
    policy.require(caller, "compute:servers:evacuate")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    hosts = await hosts_by_name(cloud)
    if host is not None and host not in hosts:
        raise NotFoundError(f"Compute host {host} not found.")
    source = source_of(view, hosts, MoveKind.EVACUATION)
    if host == source.name:
        raise InvalidError("The target host can't be the same one.")
    _need_state(view, MoveKind.EVACUATION)
    if is_host_up(cloud, source):
        raise InvalidError(f"Compute service of {source.name} is still in use.")
    await begin(cloud, caller, view, source, MoveKind.EVACUATION, host=host, stays_off=stays_off)


async def confirm(cloud: Cloud, caller: Caller, server_id: str) -> None:
    """It stays where it went. Raises: NotFoundError, ConflictError, UnavailableError."""
    policy.require(caller, "compute:servers:action")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    command = MoveConfirm(server_id=view.server.server_id, request_id=caller.request_id)
    await propose(cloud, command, request_id=caller.request_id)


async def revert(cloud: Cloud, caller: Caller, server_id: str) -> None:
    """Back to the host it left, with the disks it had there.

    Raises: NotFoundError, ConflictError (also when that host is down), UnavailableError."""
    policy.require(caller, "compute:servers:action")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    hosts = {each.host_id: each for each in (await hosts_by_name(cloud)).values()}
    move = await cloud.state.read(GetOpenMove(server_id=view.server.server_id))
    dest = None if move is None or move.dest_host_id is None else hosts.get(move.dest_host_id)
    source = None if move is None else hosts.get(move.source_host_id)
    if source is not None and not is_host_up(cloud, source):
        raise ConflictError(
            f"Compute host {source.name} is down: instance {server_id} cannot go back there now."
        )
    command = MoveRevert(
        server_id=view.server.server_id,
        request_id=caller.request_id,
        is_dest_gone=dest is not None and not is_host_up(cloud, dest),
        deadline_ms=cloud.clock.wall_ms() + cloud.action_deadline_ms,
    )
    await propose(cloud, command, request_id=caller.request_id)


async def list_moves(
    cloud: Cloud, caller: Caller, wanted: MoveFilter, *, limit: int, marker: str | None = None
) -> tuple[ListedMove, ...]:
    """Newest first. Raises: ForbiddenError, InvalidError (the marker)."""
    policy.require(caller, "compute:migrations:list")
    try:
        found = await cloud.state.read(ListMoves(filter=wanted, limit=limit, marker=marker))
    except BadFilterError as error:
        raise InvalidError(str(error)) from error
    return await _listed(cloud, found)


async def _listed(cloud: Cloud, found: tuple[Move, ...]) -> tuple[ListedMove, ...]:
    addresses = {host.host_id: host.address for host in (await hosts_by_name(cloud)).values()}
    return tuple(
        ListedMove(move=move, dest_address=addresses.get(move.dest_host_id, "") if move.dest_host_id else "")
        for move in found
    )


def _need_state(view: ServerView, kind: MoveKind) -> None:
    """Apply looks again. Here, too, for clients know the order in which Nova refuses."""
    why_not = why_not_now(kind, view.server.server_id, view.server.vm_state)
    if why_not is not None:
        raise ConflictError(why_not)


def source_of(view: ServerView, hosts: dict[str, Host], kind: MoveKind) -> Host:
    server: Server = view.server
    found = hosts.get(server.host_name or "")
    if found is None and server.vm_state is VmState.SHELVED_OFFLOADED:
        raise ConflictError(cannot_in(kind, server.server_id, f"vm_state {server.vm_state.value}"))
    if found is None:
        raise ConflictError(f"Instance {server.server_id} is not ready: no host ever had it.")
    return found


def need_able(cloud: Cloud, source: Host) -> None:
    """A host whose program is from before moves would drop what it is to keep."""
    member = cloud.fleet.member(source.host_id)
    if member is None or not levels_of(member).can(MoveBegin.LEVEL):
        raise ConflictError(
            f"Compute host {source.name} runs a program of before moves: upgrade it, then try again."
        )


async def begin(
    cloud: Cloud,
    caller: Caller,
    view: ServerView,
    source: Host,
    kind: MoveKind,
    *,
    host: str | None,
    stays_off: bool = False,
) -> None:
    command = MoveBegin(
        move_id=new_uuid(),
        server_id=view.server.server_id,
        kind=kind.value,
        source_host_id=source.host_id,
        user_id=caller.user_id,
        request_id=caller.request_id,
        host_name=host,
        stays_off=stays_off,
        deadline_ms=cloud.clock.wall_ms() + cloud.action_deadline_ms,
        arrive_ms=cloud.build_deadline_ms if kind is MoveKind.EVACUATION else cloud.move_deadline_ms,
    )
    try:
        await propose(cloud, command, request_id=caller.request_id)
    except CommandRejectedError as error:  # `stale` alone comes through
        raise ConflictError(error.message) from error

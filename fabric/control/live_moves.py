"""Live migration: asked for, looked at while it is under way, aborted, hurried.

How far one is only its source knows, and is asked. What is shown of one whose source does not answer are
zeros: that it is under way is in the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, InvalidError, NotFoundError
from fabric.control.moves import begin, need_able, source_of
from fabric.control.propose import propose
from fabric.control.servers import find, require_unlocked
from fabric.control.services import hosts_by_name, is_host_up
from fabric.core.moves.model import SHOWN_AS, Move, MoveKind, MoveStatus
from fabric.core.moves.queries import GetOpenMove, ListMoves, MoveFilter
from fabric.core.servers.model import ServerView
from fabric.core.topology.wish import TopologyError, wish_of
from fabric.errors import DeadlineExceededError, PeerUnreachableError, RemoteError
from fabric.runtime.hosts import MigrationView
from proto.commands.moves import MoveAbort, MoveForce
from proto.ids import ServerId

MAY_ABORT = (MoveStatus.RUNNING,)  # as it is shown
MAY_ABORT_EARLY = (MoveStatus.QUEUED, MoveStatus.PREPARING, *MAY_ABORT)  # from 2.65 on


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveMove:
    move: Move
    dest_address: str  # "" before there is one
    progress: MigrationView


async def migrate_live(cloud: Cloud, caller: Caller, server_id: str, *, host: str | None) -> None:
    """To `host`, or wherever the scheduler finds. Returns once that is durable; the guest runs all the while.

    Raises: ForbiddenError, NotFoundError, InvalidError (`host`), ConflictError, UnavailableError."""
    policy.require(caller, "compute:servers:migrate_live")
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    _need_no_devices(view)
    hosts = await hosts_by_name(cloud)
    if host is not None and host not in hosts:
        raise InvalidError(f"Compute host {host} could not be found.")
    source = source_of(view, hosts, MoveKind.LIVE)
    if host == source.name:
        raise InvalidError(f"Unable to migrate instance ({server_id}) to current host ({host}).")
    for each in (source, *([hosts[host]] if host is not None else [])):
        if not is_host_up(cloud, each):
            raise InvalidError(f"Compute service of {each.name} is unavailable at this time.")
        need_able(cloud, each)
    await begin(cloud, caller, view, source, MoveKind.LIVE, host=host)


def _need_no_devices(view: ServerView) -> None:
    try:
        wish = wish_of(view.server.flavor)
    except TopologyError:  # nothing that it was given by what its flavor says
        return
    if wish is not None and wish.devices:
        raise InvalidError(
            f"Instance {view.server.server_id} has PCI devices of its host, which cannot go along while it "
            "runs: migrate it cold."
        )


async def list_live(cloud: Cloud, caller: Caller, server_id: str) -> tuple[LiveMove, ...]:
    """Those of the server that are under way: one, or none. Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:server_migrations:list")
    view = await find(cloud, caller, server_id)
    move = await cloud.state.read(GetOpenMove(server_id=view.server.server_id))
    if move is None or move.kind is not MoveKind.LIVE:
        return ()
    return (await _looked_at(cloud, move),)


async def get_live(cloud: Cloud, caller: Caller, server_id: str, number: str) -> LiveMove:
    """Raises: ForbiddenError, NotFoundError (also: not a live one, or over)."""
    policy.require(caller, "compute:server_migrations:show")
    move = await _find(cloud, caller, server_id, number)
    return await _looked_at(cloud, move)


async def abort(cloud: Cloud, caller: Caller, server_id: str, number: str, *, may_be_queued: bool) -> None:
    """It is to end with the guest where it is. Once it is all but done it does not.

    Raises: ForbiddenError, NotFoundError, InvalidError (in no state to be aborted), ConflictError (it ended
    meanwhile), UnavailableError."""
    policy.require(caller, "compute:server_migrations:delete")
    move = await _find(cloud, caller, server_id, number)
    require_unlocked(caller, await find(cloud, caller, server_id))
    _need_status(move, MAY_ABORT_EARLY if may_be_queued else MAY_ABORT, "abort")
    command = MoveAbort(move_id=move.move_id, server_id=move.server_id, request_id=caller.request_id)
    await propose(cloud, command, request_id=caller.request_id)


async def force(cloud: Cloud, caller: Caller, server_id: str, number: str) -> None:
    """The guest waits until it has arrived. Raises as `abort`."""
    policy.require(caller, "compute:server_migrations:force_complete")
    move = await _find(cloud, caller, server_id, number)
    require_unlocked(caller, await find(cloud, caller, server_id))
    _need_status(move, (MoveStatus.RUNNING,), "force_complete")
    if move.status is MoveStatus.ABORTING:
        raise ConflictError(f"Migration {number} of instance {server_id} is being aborted.")
    command = MoveForce(move_id=move.move_id, server_id=move.server_id, request_id=caller.request_id)
    await propose(cloud, command, request_id=caller.request_id)


async def _find(cloud: Cloud, caller: Caller, server_id: str, number: str) -> Move:
    view = await find(cloud, caller, server_id)
    wanted = MoveFilter(server_id=ServerId(view.server.server_id))
    for move in await cloud.state.read(ListMoves(filter=wanted)):
        if str(move.number) != number:
            continue
        if move.kind is not MoveKind.LIVE:
            raise NotFoundError(f"Migration {number} for server {server_id} is not live-migration.")
        if not move.is_open:
            raise NotFoundError(f"Migration {number} for server {server_id} is not in progress.")
        return move
    raise NotFoundError(f"Migration {number[:40]} could not be found for server {server_id}.")


def _need_status(move: Move, allowed: tuple[MoveStatus, ...], verb: str) -> None:
    shown = SHOWN_AS.get(move.status, move.status)
    if shown not in allowed:
        raise InvalidError(
            f"Migration {move.number} state of instance {move.server_id} is {shown.value}. "
            f"Cannot {verb} while the migration is in this state."
        )


async def _looked_at(cloud: Cloud, move: Move) -> LiveMove:
    hosts = {host.host_id: host.address for host in (await hosts_by_name(cloud)).values()}
    progress = None
    if move.dest_host_id is not None:
        try:
            progress = await cloud.hosts.migration(move.source_host_id, move.server_id)
        except (PeerUnreachableError, DeadlineExceededError, RemoteError):
            progress = None
    address = hosts.get(move.dest_host_id, "") if move.dest_host_id is not None else ""
    return LiveMove(move=move, dest_address=address, progress=progress or MigrationView())

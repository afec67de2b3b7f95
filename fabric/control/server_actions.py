"""What users do to a server that exists: power, delete, lock, console."""

from __future__ import annotations

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, UnavailableError
from fabric.control.propose import propose
from fabric.control.servers import find, require_unlocked
from fabric.core.servers.states import Verb
from fabric.errors import DeadlineExceededError, PeerUnreachableError, RemoteError
from proto.commands.servers import ServerAct, ServerUpdate

_ACTION = "compute:servers:action"
CONSOLE_LINES_MAX = 100_000  # more than any log a host keeps; bounds what is asked over the mesh


async def act(cloud: Cloud, caller: Caller, server_id: str, verb: Verb) -> None:
    """Asks for it and returns once that is durable; the server's host does the work afterwards.

    Raises: NotFoundError, ConflictError (locked, wrong state, another task under way), UnavailableError.
    """
    policy.require(caller, "compute:servers:delete" if verb is Verb.DELETE else _ACTION)
    view = await find(cloud, caller, server_id)
    require_unlocked(caller, view)
    command = ServerAct(
        server_id=view.server.server_id,
        verb=verb.value,
        request_id=caller.request_id,
        deadline_ms=cloud.clock.wall_ms() + cloud.action_deadline_ms,
    )
    await propose(cloud, command, request_id=caller.request_id)


async def lock(cloud: Cloud, caller: Caller, server_id: str, reason: str | None) -> None:
    """From now on only admins may change the server. Raises: NotFoundError."""
    policy.require(caller, _ACTION)
    await _set_lock(cloud, caller, server_id, locked=True, reason=reason)


async def unlock(cloud: Cloud, caller: Caller, server_id: str) -> None:
    """Raises: NotFoundError."""
    policy.require(caller, _ACTION)
    await _set_lock(cloud, caller, server_id, locked=False, reason=None)


async def _set_lock(
    cloud: Cloud, caller: Caller, server_id: str, *, locked: bool, reason: str | None
) -> None:
    view = await find(cloud, caller, server_id)
    command = ServerUpdate(server_id=view.server.server_id, locked=locked, locked_reason=reason)
    await propose(cloud, command, request_id=caller.request_id)


async def console_log(cloud: Cloud, caller: Caller, server_id: str, lines: int | None) -> str:
    """The guest's console output, its last `lines` lines (None: all that the host kept).

    Raises: NotFoundError, ConflictError (on no host yet), UnavailableError (its host does not answer).
    """
    policy.require(caller, _ACTION)
    server = (await find(cloud, caller, server_id)).server
    if server.host_id is None:
        raise ConflictError(f"Instance {server.server_id} is not ready")
    wanted = None if lines is None else min(lines, CONSOLE_LINES_MAX)
    try:
        return await cloud.hosts.console_log(server.host_id, server.server_id, lines=wanted)
    except (PeerUnreachableError, DeadlineExceededError) as error:
        raise UnavailableError(
            f"Host {server.host_name} of instance {server.server_id} does not answer; "
            "the console log can be read when it is back."
        ) from error
    except RemoteError as error:
        raise ConflictError(
            f"Host {server.host_name} could not read the console log of instance "
            f"{server.server_id}: {error.message}"
        ) from error

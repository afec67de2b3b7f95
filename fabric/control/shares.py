"""Shared file systems of servers. The fabric keeps none and no host mounts any, so no server has one: asked
for what there is, it says so, and asked for one it refuses as Nova does on a host that cannot mount it."""

from __future__ import annotations

from typing import NoReturn

from fabric.control import policy
from fabric.control.context import Caller, Cloud
from fabric.control.errors import ConflictError, NotFoundError
from fabric.control.servers import find
from fabric.core.servers.model import ServerView
from fabric.core.servers.states import VmState


async def listing(cloud: Cloud, caller: Caller, server_id: str) -> None:
    """There is nothing to list. Raises: ForbiddenError, NotFoundError (the server)."""
    policy.require(caller, "compute:server_shares:list")
    await find(cloud, caller, server_id)


async def show(cloud: Cloud, caller: Caller, server_id: str, share_id: str) -> NoReturn:
    """Raises: ForbiddenError, NotFoundError."""
    policy.require(caller, "compute:server_shares:show")
    await find(cloud, caller, server_id)
    _not_found(share_id)


async def attach(cloud: Cloud, caller: Caller, server_id: str, share_id: str) -> NoReturn:
    """Raises: ForbiddenError, NotFoundError (the server), ConflictError."""
    policy.require(caller, "compute:server_shares:create")
    view = await find(cloud, caller, server_id)
    _need(view, "create share", VmState.STOPPED)
    raise ConflictError(
        f"Share {share_id} cannot be given to instance {view.server.server_id}: no host of this fabric can "
        "mount shared file systems."
    )


async def detach(cloud: Cloud, caller: Caller, server_id: str, share_id: str) -> NoReturn:
    """Raises: ForbiddenError, NotFoundError, ConflictError (its state)."""
    policy.require(caller, "compute:server_shares:delete")
    view = await find(cloud, caller, server_id)
    _need(view, "delete share", VmState.STOPPED, VmState.ERROR)
    _not_found(share_id)


def _need(view: ServerView, action: str, *states: VmState) -> None:
    if view.server.vm_state not in states:
        raise ConflictError(
            f"Cannot '{action}' instance {view.server.server_id} while it is in vm_state "
            f"{view.server.vm_state.value}"
        )


def _not_found(share_id: str) -> NoReturn:
    raise NotFoundError(f"Share {share_id} could not be found.")

"""What an operator asks of an agent about nodes: done here where this node may, else told where to ask.

The conductor's local socket has authority over all nodes; any other agent's over its own node, and only to
make it do less (drain it) or to change its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from fabric.agent_roles import conductor_of
from fabric.control import conductor, node_view, operate, token_view
from fabric.core.membership.model import MemberState, NodeRecord
from fabric.core.nodes.model import Node
from fabric.errors import NoQuorumError
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from fabric.runtime.mesh_view import MeshView
from fabric.runtime.node_admin import NodeAdmin
from fabric.runtime.node_identity import IdentityError
from fabric.runtime.rotation import Rotation, RotationError
from proto.commands.nodes import HostUpdate
from proto.ids import NodeId, new_request_id

SEEN_MS = 4_000  # the nudge, the pull, and the node's next word about itself, which comes each second
LOOK_S = 0.05


class AgentNodes:
    """Implements `fabric.api.local.nodes.NodeDesk`. Parts that come later than the local socket are asked for
    each time, and None until then."""

    def __init__(
        self,
        fleet: MeshView,
        clock: Clock,
        *,
        admin: Callable[[], NodeAdmin | None],
        state: Callable[[], HardState | None],
        rotation: Callable[[], Rotation | None],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._admin = admin
        self._state = state
        self._rotation = rotation

    def show(self, text: str) -> dict[str, Any]:
        return node_view.node(self._fleet, self._clock, text)

    async def remove(self, text: str, *, force: bool) -> dict[str, Any]:
        return _named(await self._need_admin("nodes are removed").remove(text, force=force))

    async def drain(self, text: str, reason: str) -> dict[str, Any]:
        admin, state = self._admin(), self._state()
        if admin is not None:
            node = await admin.drain(text, reason)
            return _named(node) | {"seen": await self._is_seen(node.node_id, draining=True)}
        member = operate.find(self._fleet, text)
        if member.record.node_id != self._fleet.me or state is None:
            self._need_admin("other nodes are drained")
        assert state is not None
        command = HostUpdate(host_id=self._fleet.me, enabled=False, disabled_reason=reason)
        await self._propose(state, command)
        seen = await self._is_seen(self._fleet.me, draining=True)
        return {"id": self._fleet.me, "name": member.record.name, "seen": seen}

    async def undrain(self, text: str) -> dict[str, Any]:
        node, was_draining = await self._need_admin("draining is ended").undrain(text)
        seen = await self._is_seen(node.node_id, draining=False)
        return _named(node) | {"was_draining": was_draining, "seen": seen}

    async def rotate_key(self) -> dict[str, Any]:
        rotation = self._rotation()
        if rotation is None:
            raise RotationError("this agent is still starting; try again")
        admin, now_ms = self._admin(), self._clock.wall_ms()
        kept = () if admin is None else await admin.tokens()  # first: afterwards this life of the agent ends
        me = self._me()
        dead = token_view.usable_count(kept, door_public=me.curve_public, now_ms=now_ms)
        await rotation.rotate()
        return {"id": me.node_id, "name": me.name, "tokens_dead": dead}

    async def tokens(self) -> list[dict[str, Any]]:
        rows = await self._need_admin("join tokens are kept").tokens()
        door_public, now_ms = self._me().curve_public, self._clock.wall_ms()
        return [token_view.token(row, door_public=door_public, now_ms=now_ms) for row in rows]

    async def revoke_token(self, token_id: str) -> None:
        await self._need_admin("join tokens are kept").revoke_token(token_id)

    async def _is_seen(self, node_id: NodeId, *, draining: bool) -> bool:
        """Waits until that node says so itself, so that whoever looks next sees what was done. Not for one
        that is not there to say anything."""
        deadline_ms = self._clock.monotonic_ms() + SEEN_MS
        while True:
            member = self._fleet.member(node_id)
            if member is None or member.state is not MemberState.ALIVE:
                return False
            if member.load.is_draining is draining:
                return True
            if self._clock.monotonic_ms() >= deadline_ms:
                return False
            await asyncio.sleep(LOOK_S)

    async def _propose(self, state: HardState, command: HostUpdate) -> None:
        """Raises NoQuorumError, which names who should conduct: at once where that one is known not to."""
        trouble = conductor.trouble(self._fleet)
        if trouble is not None:
            raise NoQuorumError(f"{trouble}; nothing was done")
        try:
            await state.propose(command, request_id=new_request_id())
        except NoQuorumError as error:
            raise NoQuorumError(f"{conductor.trouble(self._fleet) or error}; nothing was done") from error

    def _me(self) -> NodeRecord:
        """Its key is its door's key, too."""
        me = self._fleet.member(self._fleet.me)
        assert me is not None, "a node knows itself"
        return me.record

    def _need_admin(self, what: str) -> NodeAdmin:
        """Raises IdentityError, which names the conductor."""
        admin = self._admin()
        if admin is None:
            raise IdentityError(where_to_ask(self._fleet, what))
        return admin


def where_to_ask(fleet: MeshView, what: str) -> str:
    conducting = conductor_of(fleet)
    member = None if conducting is None else fleet.member(conducting)
    if member is None:
        return f"{what} on the conductor: {conductor.trouble(fleet)}; nothing was done"
    return f"{what} on {member.record.name}, the conductor: ask there"


def _named(node: Node) -> dict[str, Any]:
    return {"id": node.node_id, "name": node.name}

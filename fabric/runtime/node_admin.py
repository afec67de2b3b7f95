"""What an operator does to nodes, as the conductor does it: remove, drain, invite. Its local socket is the
authority; the log decides, and the mesh is told."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Protocol

from fabric.core.membership.model import MemberState
from fabric.core.nodes.model import JoinToken, Node
from fabric.core.nodes.queries import ListHosts, ListJoinTokens, ListNodes
from fabric.errors import FabricError, Outcome
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.authority import Authority
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from proto.commands.nodes import HostUpdate, JoinTokenRevoke, NodeRemove
from proto.ids import NodeId, new_request_id
from proto.membership import Removal

ID_PREFIX_CHARS_MIN = 4
FAREWELL = "node.removed"
FAREWELL_TIMEOUT_MS = 300  # it is cut off then, whether it has heard why or not
PRESENT_STATES = frozenset({MemberState.ALIVE, MemberState.STALLED, MemberState.SUSPECT})


class NodeRefusedError(FabricError):
    """The node is not one this can be done to; the message says why and what to do."""

    code = "fabric.node.refused"
    outcome = Outcome.NOT_DONE


class RemovingFleet(Fleet, Protocol):
    def remove(self, removal: Removal) -> None:
        """The root removed that node: every node is told."""
        ...


class NodeAdmin:
    def __init__(
        self,
        state: HardState,
        authority: Authority,
        fleet: RemovingFleet,
        rpc: Rpc,
        clock: Clock,
        *,
        votes: Callable[[NodeId], bool] = lambda node_id: False,
    ) -> None:
        """`votes`: whether that node is a voter of the log."""
        self._state = state
        self._authority = authority
        self._fleet = fleet
        self._rpc = rpc
        self._clock = clock
        self._votes = votes

    async def remove(self, text: str, *, force: bool) -> Node:
        """For ever: its keys are refused everywhere. Rejected while servers are on it, force or not.

        `force`: even though its agent is there. Raises NodeRefusedError, CommandRejectedError."""
        node = await self.find(text)
        if node.node_id == self._fleet.me:
            raise NodeRefusedError(f"{node.name} is the node that was asked, and cannot remove itself")
        if not force and self._votes(node.node_id):
            raise NodeRefusedError(
                f"{node.name} votes on the log; `fabric voters remove {node.name}` first, and wait until "
                "`fabric voters list` shows it no more (or cut it off with --force)"
            )
        member = self._fleet.member(node.node_id)
        if not force and member is not None and member.state in PRESENT_STATES:
            raise NodeRefusedError(
                f"{node.name} is {member.state.value}; stop its agent first, or cut it off with --force"
            )
        removal = self._authority.remove(node.node_id, now_ms=self._clock.wall_ms())
        await self._state.propose(
            NodeRemove(node_id=node.node_id, removal_body=removal.body, removal_signature=removal.signature),
            request_id=new_request_id(),
        )
        if member is not None and member.state in PRESENT_STATES:
            await self._tell_itself(node.node_id, removal)
        self._fleet.remove(removal)
        return node

    async def drain(self, text: str, reason: str) -> Node:
        """It takes no new servers; those it has stay."""
        node = await self.find(text)
        await self._set_enabled(node.node_id, enabled=False, reason=reason)
        return node

    async def undrain(self, text: str) -> tuple[Node, bool]:
        """Whether it was draining; if not, nothing is changed."""
        node = await self.find(text)
        usages = await self._state.read(ListHosts(host_id=node.node_id))
        if all(usage.host.enabled for usage in usages):
            return node, False
        await self._set_enabled(node.node_id, enabled=True, reason=None)
        return node, True

    async def tokens(self) -> tuple[JoinToken, ...]:
        return await self._state.read(ListJoinTokens())

    async def revoke_token(self, text: str) -> None:
        """The token of that id, or beginning of one id. Raises NodeRefusedError, and CommandRejectedError
        where another was quicker."""
        known = [token.token_id for token in await self._state.read(ListJoinTokens())]
        found = [token_id for token_id in known if token_id == text]
        if not found and len(text) >= ID_PREFIX_CHARS_MIN:
            found = [token_id for token_id in known if token_id.startswith(text)]
        if len(found) > 1:
            raise NodeRefusedError(f"{text!r} begins the ids of several join tokens: {', '.join(found[:8])}")
        if not found:
            raise NodeRefusedError(
                f"no join token {text!r}: it was revoked already, has long expired, or never was; "
                "`fabric token list` shows those there are"
            )
        await self._state.propose(JoinTokenRevoke(token_id=found[0]), request_id=new_request_id())

    async def find(self, text: str) -> Node:
        """The node of that name, id, or beginning of one id. Raises NodeRefusedError."""
        nodes = await self._state.read(ListNodes())
        for node in nodes:
            if text in (node.name, node.node_id):
                return node
        found = [node for node in nodes if node.node_id.startswith(text)]
        if len(text) >= ID_PREFIX_CHARS_MIN and len(found) == 1:
            return found[0]
        if len(text) >= ID_PREFIX_CHARS_MIN and found:
            names = ", ".join(node.name for node in found[:8])
            raise NodeRefusedError(f"{text!r} begins the ids of several nodes: {names}")
        raise NodeRefusedError(f"no node {text!r} in this fabric; `fabric members` lists them")

    async def _tell_itself(self, node_id: NodeId, removal: Removal) -> None:
        """Its last word from us, so that its agent can say why it ends. After it nobody speaks to it."""
        body = {"body": removal.body, "signature": removal.signature}
        with contextlib.suppress(FabricError):
            await self._rpc.call(node_id, FAREWELL, body, timeout_ms=FAREWELL_TIMEOUT_MS)

    async def _set_enabled(self, node_id: NodeId, *, enabled: bool, reason: str | None) -> None:
        command = HostUpdate(host_id=node_id, enabled=enabled, disabled_reason=reason)
        await self._state.propose(command, request_id=new_request_id())

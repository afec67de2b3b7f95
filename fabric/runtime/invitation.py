"""How a node becomes a voter: the conductor gives it a certificate that lets it conduct, and the root's key.

A voter holds every row, so it is trusted with everything already; the root key with it lets the fabric admit
nodes while any majority lives. Only who is chosen gets them: a node that merely carries guests can neither
conduct nor admit anybody, stolen or not. SPEC.md, "Methods".
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import GetNode
from fabric.errors import CommandRejectedError, FabricError, Outcome
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.authority import FOUNDER_ROLES, HOST_ROLES, Authority, read_certificate, read_own
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from fabric.runtime.node_identity import Membership, NodeIdentity
from fabric.store.incarnation import FIRST_INCARNATION, INCARNATION_MAX
from proto.codec import Plain
from proto.commands.nodes import NodeRenew
from proto.errors import WireError
from proto.ids import FabricId, NodeId, VoterId, new_request_id, node_of

INVITE, DISMISS = "log.invite", "log.dismiss"
INVITE_TIMEOUT_MS = 30_000  # the node writes its certificate and opens a log of its own
DISMISS_TIMEOUT_MS = 10_000


class NotInvitedError(FabricError):
    """The node did not become a voter, or a former one did not end; nothing changed there."""

    code = "fabric.voters.refused"
    outcome = Outcome.NOT_DONE


class Inviter:
    """The conductor's side."""

    def __init__(
        self, state: HardState, authority: Authority, rpc: Rpc, clock: Clock, *, incarnation: int
    ) -> None:
        """`incarnation`: of the group that the invited node's voter is to belong to."""
        self._incarnation = incarnation
        self._state = state
        self._authority = authority
        self._rpc = rpc
        self._clock = clock

    async def invite(self, node_id: NodeId) -> VoterId:
        """The voter that node has opened, or had already. It belongs to no configuration yet. Again is safe.
        Raises FabricError."""
        certificate = await self.certify(node_id)
        body: dict[str, Plain] = {
            "certificate": certificate,
            "root_key": self._authority.private_bytes(),
            "incarnation": self._incarnation,
        }
        answer = await self._rpc.call(node_id, INVITE, body, timeout_ms=INVITE_TIMEOUT_MS)
        voter = answer.get("voter_id") if isinstance(answer, dict) else None
        if not isinstance(voter, str) or node_of(VoterId(voter)) != node_id:
            raise NotInvitedError(f"node {node_id} answered with no voter of its own")
        return VoterId(voter)

    async def dismiss(self, voter: VoterId) -> None:
        """It belongs to the group no more: its node forgets it. Raises FabricError."""
        await self._rpc.call(node_of(voter), DISMISS, {"voter_id": voter}, timeout_ms=DISMISS_TIMEOUT_MS)

    async def demote(self, node_id: NodeId) -> None:
        """Its next certificate lets it carry guests and nothing else; where it has no more than that, nothing
        is done. It takes effect when the node asks for its newest, at the latest as it begins anew. Raises
        FabricError."""
        row = await self._need_row(node_id)
        if set(read_own(row.certificate).roles) - set(HOST_ROLES):
            await self._issue(row, HOST_ROLES)

    async def certify(self, node_id: NodeId) -> bytes:
        """Its certificate that lets it conduct: the one it has, or a newer one, which the rows hold when
        this returns. Raises FabricError."""
        row = await self._need_row(node_id)
        if set(FOUNDER_ROLES) <= set(read_own(row.certificate).roles):
            return row.certificate
        return await self._issue(row, FOUNDER_ROLES)

    async def _need_row(self, node_id: NodeId) -> Node:
        row = await self._state.read(GetNode(node_id=node_id))
        if row is None:
            raise CommandRejectedError("not_found", f"Node {node_id} is not a member of this fabric.")
        return row

    async def _issue(self, row: Node, roles: tuple[str, ...]) -> bytes:
        known = read_own(row.certificate)
        generation = row.generation + 1
        certificate = self._authority.issue(
            curve_public=known.curve_public,
            sign_public=known.sign_public,
            name=row.name,
            now_ms=self._clock.wall_ms(),
            roles=roles,
            node_id=row.node_id,
            generation=generation,
        )
        command = NodeRenew(
            node_id=row.node_id,
            curve_public=known.curve_public,
            certificate=certificate,
            generation=generation,
        )
        await self._state.propose(command, request_id=new_request_id())
        return certificate


class InvitationService:
    """The invited node's side: serves `log.invite` and `log.dismiss` for as long as the agent runs."""

    def __init__(
        self,
        rpc: Rpc,
        identity: NodeIdentity,
        clock: Clock,
        *,
        member: Callable[[], Membership],
        may_invite: Callable[[NodeId], bool],
        accept: Callable[[Membership, bytes, int], Awaitable[VoterId]],
        dismiss: Callable[[VoterId], Awaitable[None]],
    ) -> None:
        """`may_invite`: whether that node conducts, by a claim its certificate allows. `accept` makes
        membership, root key and the group's incarnation durable and opens a voter, once."""
        self._identity = identity
        self._clock = clock
        self._member = member
        self._may_invite = may_invite
        self._accept = accept
        self._dismiss = dismiss
        rpc.serve(INVITE, self._on_invite)
        rpc.serve(DISMISS, self._on_dismiss)

    async def _on_invite(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_conductor(peer)
        signed, root_key = body.get("certificate"), body.get("root_key")
        if not isinstance(signed, bytes) or not isinstance(root_key, bytes):
            raise WireError("bad_field", "certificate and root_key: must be bytes")
        incarnation = body.get("incarnation")
        if type(incarnation) is not int or not FIRST_INCARNATION <= incarnation <= INCARNATION_MAX:
            raise WireError("bad_field", "incarnation: must be a number from 1")
        member = self._member()
        check_trust(member, self._identity, signed, root_key, now_ms=self._clock.wall_ms())
        newer = replace(member, certificate=signed)
        return {"voter_id": await self._accept(newer, root_key, incarnation)}

    async def _on_dismiss(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_conductor(peer)
        voter = body.get("voter_id")
        if not isinstance(voter, str):
            raise WireError("bad_field", "voter_id: must be text")
        await self._dismiss(VoterId(voter))
        return {}

    def _need_conductor(self, peer: NodeId) -> None:
        if not self._may_invite(peer):
            raise CommandRejectedError("forbidden", "Only the conductor chooses voters.")


def check_trust(
    member: Membership, identity: NodeIdentity, signed: bytes, root_key: bytes, *, now_ms: int
) -> None:
    """Whether that certificate and that key make this node one that conducts. Raises WireError."""
    certificate = read_certificate(
        signed, root_public=member.root_public, fabric_id=member.fabric_id, now_ms=now_ms
    )
    mine = (identity.node_id, identity.curve_public, identity.sign_public)
    if (certificate.node_id, certificate.curve_public, certificate.sign_public) != mine:
        raise WireError("wrong_owner", "the certificate is of another node, or of other keys")
    if certificate.generation < read_own(member.certificate).generation:
        raise WireError("bad_certificate", "this node has a newer one")
    if not set(FOUNDER_ROLES) <= set(certificate.roles):
        raise WireError("bad_certificate", "it does not let this node conduct")
    authority = Authority.of(root_key, FabricId(member.fabric_id))
    if not hmac.compare_digest(authority.root_public, member.root_public):
        raise WireError("bad_field", "root_key: is not this fabric's")

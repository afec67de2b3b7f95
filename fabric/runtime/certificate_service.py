"""The conductor's side of newer certificates: a member asks for one over the keys it has (renewal), over new
ones (rotation), or with a new name. SPEC.md, "Methods".

A rotation takes two steps, so that a crash anywhere leaves a node that can speak. First the certificate over
the new keys, of which nothing is kept here: the node makes keys and certificate durable. Then the node's
first word under the new keys, which enters the log: from then on the old keys are spent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import read_state
from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import GetNode
from fabric.errors import CommandRejectedError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.authority import Authority, NodeTrust, is_signed_by, issued_ms, read_own
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from proto.certificate import KEY_BYTES, NodeCertificate, certificate_request_body
from proto.codec import Plain
from proto.commands.nodes import NodeRename, NodeRenew
from proto.errors import WireError
from proto.ids import NodeId, RequestId, new_uuid
from proto.membership import NodeState

FRESH_PART = 3  # a certificate in the first third of its life is given again: asking often costs no log


class CertificateService:
    """Serves `node.renew`, `node.rotate` and `node.rename`. Only the node itself may ask: the link proves
    the old key, and signatures prove old and new signing keys."""

    def __init__(
        self,
        state: HardState,
        authority: Authority,
        trust: NodeTrust,
        rpc: Rpc,
        clock: Clock,
        rotated: Callable[[NodeState], None],
    ) -> None:
        """`rotated` is called when a node's new keys have entered the log, before the node hears of it."""
        self._state = state
        self._authority = authority
        self._trust = trust
        self._clock = clock
        self._rotated = rotated
        self._rpc = rpc
        rpc.serve("node.renew", self._renew)
        rpc.serve("node.rotate", self._rotate)
        rpc.serve("node.rename", self._rename)

    def close(self) -> None:
        for method in ("node.renew", "node.rotate", "node.rename"):
            self._rpc.unserve(method)

    async def _renew(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        row = await self._need_row(peer)
        known = read_own(row.certificate)
        curve_public, sign_public = _bytes(body, "curve_public"), _bytes(body, "sign_public")
        asked = certificate_request_body(
            fabric_id=self._authority.fabric_id,
            node_id=peer,
            curve_public=curve_public,
            sign_public=sign_public,
        )
        if not is_signed_by(known.sign_public, _bytes(body, "signature"), asked):
            raise WireError("bad_signature", "not signed by the key this node has now")
        if not is_signed_by(sign_public, _bytes(body, "proof"), asked):
            raise WireError("bad_signature", "not signed by the key it asks for")
        is_rotation = (curve_public, sign_public) != (known.curve_public, known.sign_public)
        if not is_rotation and self._is_fresh(known):
            return {"certificate": row.certificate}
        certificate = self._authority.issue(
            curve_public=curve_public,
            sign_public=sign_public,
            name=row.name,
            now_ms=self._clock.wall_ms(),
            roles=known.roles,
            node_id=peer,
            generation=row.generation + 1,
        )
        if not is_rotation:
            await self._propose(
                NodeRenew(
                    node_id=peer,
                    curve_public=curve_public,
                    certificate=certificate,
                    generation=row.generation + 1,
                )
            )
        return {"certificate": certificate}

    async def _rotate(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        await self._need_row(peer)
        state = NodeState(
            certificate=_bytes(body, "certificate"),
            body=_bytes(body, "body"),
            signature=_bytes(body, "signature"),
        )
        record = read_state(state).record
        self._need_held(state, record, peer, "the new keys")
        await self._propose(
            NodeRenew(
                node_id=peer,
                curve_public=record.curve_public,
                certificate=state.certificate,
                generation=read_own(state.certificate).generation,
                body=state.body,
                signature=state.signature,
            )
        )
        self._rotated(state)
        return {}

    async def _rename(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        """The name, and that it is this node's wish, are in the record that the node has signed."""
        row = await self._need_row(peer)
        known = read_own(row.certificate)
        said, signature = _bytes(body, "body"), _bytes(body, "signature")
        wanted = read_state(NodeState(certificate=row.certificate, body=said, signature=signature)).record
        if row.name == known.name == wanted.name:  # asked again
            return {"certificate": row.certificate}
        certificate = self._authority.issue(
            curve_public=known.curve_public,
            sign_public=known.sign_public,
            name=wanted.name,
            now_ms=self._clock.wall_ms(),
            roles=known.roles,
            node_id=peer,
            generation=row.generation + 1,
        )
        state = NodeState(certificate=certificate, body=said, signature=signature)
        self._need_held(state, wanted, peer, "the new name")
        await self._propose(
            NodeRename(
                node_id=peer,
                name=wanted.name,
                certificate=certificate,
                generation=row.generation + 1,
                body=said,
                signature=signature,
            )
        )
        return {"certificate": certificate}

    def _need_held(self, state: NodeState, record: NodeRecord, peer: NodeId, what: str) -> None:
        """Its first word under `what` is that node's. Raises WireError."""
        reason = self._trust.doubt(state, record)
        if reason is not None or record.node_id != peer:
            raise WireError(reason or "wrong_owner", f"the first word under {what} does not hold")

    async def _need_row(self, peer: NodeId) -> Node:
        row = await self._state.read(GetNode(node_id=peer))
        if row is None:
            raise CommandRejectedError("not_found", f"Node {peer} is not a member of this fabric.")
        return row

    async def _propose(self, command: NodeRenew | NodeRename) -> None:
        await self._state.propose(command, request_id=RequestId(f"renew/{command.node_id}/{new_uuid()}"))

    def _is_fresh(self, known: NodeCertificate) -> bool:
        life_ms = known.not_after_ms - issued_ms(known)
        return self._clock.wall_ms() - issued_ms(known) < life_ms // FRESH_PART


def _bytes(body: Mapping[str, Plain], name: str) -> bytes:
    """Raises WireError."""
    value = body.get(name)
    if not isinstance(value, bytes) or not value:
        raise WireError("bad_field", f"{name}: must be bytes")
    if name.endswith("_public") and len(value) != KEY_BYTES:
        raise WireError("bad_field", f"{name}: must be {KEY_BYTES} bytes")
    return value

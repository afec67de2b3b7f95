"""How a node that uses the fabric's database becomes one that may conduct: the conductor gives it a
certificate that lets it, and the root's key. SPEC.md, "Methods".

Whoever can read the database is trusted with every row already, and nobody else is to get the key. So the
node proves first that it reads these rows: it knows a secret that is in them and nowhere else. It takes the
key when it finds its new certificate in its own rows: then they are no copy of the conductor's either.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from hashlib import blake2b

from fabric.core.identity.model import FabricIdentity
from fabric.core.identity.queries import GetFabric
from fabric.core.nodes.queries import GetNode
from fabric.errors import CommandRejectedError, NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.authority import Authority
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from fabric.runtime.invitation import NotInvitedError, check_trust
from fabric.runtime.node_identity import Membership, NodeIdentity
from proto.codec import Plain
from proto.errors import WireError
from proto.ids import NodeId

PROVE, ENTRUST = "rows.prove", "rows.entrust"
NONCE_BYTES = 32
PROOF_BYTES = 32
CALL_TIMEOUT_MS = 5_000

Certify = Callable[[NodeId], Awaitable[bytes]]
Accept = Callable[[Membership, bytes], Awaitable[None]]


def proof(rows: FabricIdentity, node_id: NodeId, nonce: bytes) -> bytes:
    """Only who reads the rows can tell it, and none of it helps to tell another."""
    keyed = blake2b(key=rows.token_key[:64], digest_size=PROOF_BYTES, person=b"fabric rows")
    keyed.update(nonce + node_id.encode())
    return keyed.digest()


class Entruster:
    """The conductor's side."""

    def __init__(self, state: HardState, authority: Authority, rpc: Rpc, *, certify: Certify) -> None:
        self._state = state
        self._authority = authority
        self._rpc = rpc
        self._certify = certify

    async def entrust(self, node_id: NodeId) -> None:
        """Again is safe. Raises FabricError."""
        rows = await self._state.read(GetFabric())
        if rows is None:
            raise NoQuorumError("this fabric has no rows yet")
        nonce = secrets.token_bytes(NONCE_BYTES)
        answer = await self._rpc.call(node_id, PROVE, {"nonce": nonce}, timeout_ms=CALL_TIMEOUT_MS)
        told = answer.get("proof") if isinstance(answer, dict) else None
        if not isinstance(told, bytes) or not hmac.compare_digest(told, proof(rows, node_id, nonce)):
            raise NotInvitedError(f"node {node_id} did not prove that it reads this fabric's database")
        body: dict[str, Plain] = {
            "certificate": await self._certify(node_id),
            "root_key": self._authority.private_bytes(),
        }
        await self._rpc.call(node_id, ENTRUST, body, timeout_ms=CALL_TIMEOUT_MS)


class EntrustedService:
    """The other node's side: serves both methods until `close`."""

    def __init__(
        self,
        state: HardState,
        rpc: Rpc,
        identity: NodeIdentity,
        clock: Clock,
        *,
        member: Callable[[], Membership],
        may_entrust: Callable[[NodeId], bool],
        accept: Accept,
    ) -> None:
        """`state`: the database as this node reaches it. `may_entrust`: whether that node conducts, by a
        claim its certificate allows. `accept` makes membership and root key durable."""
        self._state = state
        self._rpc = rpc
        self._identity = identity
        self._clock = clock
        self._member = member
        self._may_entrust = may_entrust
        self._accept = accept
        rpc.serve(PROVE, self._on_prove)
        rpc.serve(ENTRUST, self._on_entrust)

    def close(self) -> None:
        for method in (PROVE, ENTRUST):
            self._rpc.unserve(method)

    async def _on_prove(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_conductor(peer)
        nonce = body.get("nonce")
        if not isinstance(nonce, bytes) or len(nonce) != NONCE_BYTES:
            raise WireError("bad_field", f"nonce: must be {NONCE_BYTES} bytes")
        rows = await self._state.read(GetFabric())
        if rows is None or rows.fabric_id != self._member().fabric_id:
            raise NotInvitedError("this node's database holds another fabric, or none")
        return {"proof": proof(rows, self._identity.node_id, nonce)}

    async def _on_entrust(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        self._need_conductor(peer)
        signed, root_key = body.get("certificate"), body.get("root_key")
        if not isinstance(signed, bytes) or not isinstance(root_key, bytes):
            raise WireError("bad_field", "certificate and root_key: must be bytes")
        member = self._member()
        check_trust(member, self._identity, signed, root_key, now_ms=self._clock.wall_ms())
        row = await self._state.read(GetNode(node_id=self._identity.node_id))
        if row is None or row.certificate != signed:
            raise NotInvitedError("this node's database is not the conductor's: its rows are others")
        await self._accept(replace(member, certificate=signed), root_key)
        return {}

    def _need_conductor(self, peer: NodeId) -> None:
        if not self._may_entrust(peer):
            raise CommandRejectedError("forbidden", "Only the conductor chooses who may conduct.")

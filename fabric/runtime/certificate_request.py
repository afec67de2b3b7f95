"""A member asks the conductor for a newer certificate, and looks at what it gets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fabric.errors import FabricError, NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.authority import read_certificate
from fabric.runtime.clock import Clock
from fabric.runtime.node_identity import Membership, NodeIdentity
from proto.certificate import NodeCertificate, certificate_request_body
from proto.errors import Outcome, WireError
from proto.ids import NodeId

CALL_TIMEOUT_MS = 5_000
RENAME = "node.rename"


class CertificateRefusedError(FabricError):
    """What the conductor answered is not the certificate that was asked for."""

    code = "fabric.certificate.refused"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The way to whoever conducts now."""

    rpc: Rpc
    conductor: Callable[[], NodeId | None]
    clock: Clock

    def need(self) -> NodeId:
        conductor = self.conductor()
        if conductor is None:
            raise NoQuorumError("no conductor is known")
        return conductor

    async def certify(self, member: Membership, now: NodeIdentity, wanted: NodeIdentity) -> bytes:
        """A certificate over the keys of `wanted`, which may be those of `now`. Raises NoQuorumError,
        PeerUnreachableError, DeadlineExceededError, RemoteError, CertificateRefusedError."""
        asked = certificate_request_body(
            fabric_id=member.fabric_id,
            node_id=now.node_id,
            curve_public=wanted.curve_public,
            sign_public=wanted.sign_public,
        )
        body = {
            "curve_public": wanted.curve_public,
            "sign_public": wanted.sign_public,
            "signature": now.sign(asked),
            "proof": wanted.sign(asked),
        }
        answer = await self.rpc.call(self.need(), "node.renew", body, timeout_ms=CALL_TIMEOUT_MS)
        signed = answer.get("certificate") if isinstance(answer, dict) else None
        if not isinstance(signed, bytes):
            raise CertificateRefusedError("the conductor's answer holds no certificate")
        try:
            certificate = self.read(member, signed)
        except WireError as error:
            raise CertificateRefusedError(f"the new certificate does not hold: {error}") from error
        if (certificate.node_id, certificate.curve_public, certificate.sign_public) != (
            now.node_id,
            wanted.curve_public,
            wanted.sign_public,
        ):
            raise CertificateRefusedError("the new certificate is of other keys than asked for")
        return signed

    def read(self, member: Membership, signed: bytes) -> NodeCertificate:
        """Raises WireError."""
        return read_certificate(
            signed,
            root_public=member.root_public,
            fabric_id=member.fabric_id,
            now_ms=self.clock.wall_ms(),
        )

"""A node whose configured name has changed asks the conductor for a certificate with the new one.

Its id, keys and guests stay. It lives under the name its certificate has until the log knows the other one:
then certificate and name change together, for the agent begins anew. SPEC.md, section 3.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import body_of
from fabric.errors import FabricError
from fabric.runtime.certificate_request import CALL_TIMEOUT_MS, RENAME, CertificateRefusedError, Issuer
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import Membership, NodeIdentity, next_epoch
from proto.errors import WireError
from proto.membership import Presence

log = logging.getLogger(__name__)

RETRY_S_FIRST, RETRY_S_MAX = 1.0, 60.0
NAME_WANTED_LABEL = "name_wanted"  # in the record of a node that waits for its new name


class Renaming:
    """`run` until cancelled. `renamed` is given the certificate once, and ends this life of the agent."""

    def __init__(
        self,
        directory: Path,
        identity: NodeIdentity,
        issuer: Issuer,
        events: EventLog,
        *,
        member: Callable[[], Membership],
        record: Callable[[], NodeRecord],
        wanted: str,
        renamed: Callable[[bytes], None],
    ) -> None:
        """`record` is what this node says of itself now."""
        self._directory = directory
        self._identity = identity
        self._issuer = issuer
        self._events = events
        self._member = member
        self._record = record
        self._wanted = wanted
        self._renamed = renamed
        self._told = ""

    async def run(self) -> None:
        pause_s = RETRY_S_FIRST
        while True:
            try:
                self._renamed(await self.ask())
                break
            except (FabricError, OSError) as error:
                self._waits(str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_S_MAX, pause_s * 2)
        await asyncio.Event().wait()

    async def ask(self) -> bytes:
        """The certificate. Raises NoQuorumError, PeerUnreachableError, DeadlineExceededError, RemoteError (it
        says who has the name, say), CertificateRefusedError, WireError for a name that cannot be, OSError."""
        conductor = self._issuer.need()
        # An epoch of its own, as with new keys: should nobody else come to tell, this is how the mesh hears.
        epoch = await asyncio.to_thread(next_epoch, self._directory)
        record = replace(self._record(), name=self._wanted, epoch=epoch, incarnation=0, version=0)
        said = body_of(record, presence=Presence.LEAVING)
        body = {"body": said, "signature": self._identity.sign(said)}
        answer = await self._issuer.rpc.call(conductor, RENAME, body, timeout_ms=CALL_TIMEOUT_MS)
        signed = answer.get("certificate") if isinstance(answer, dict) else None
        if not isinstance(signed, bytes):
            raise CertificateRefusedError("the conductor's answer holds no certificate")
        try:
            certificate = self._issuer.read(self._member(), signed)
        except WireError as error:
            raise CertificateRefusedError(f"the new certificate does not hold: {error}") from error
        got = (certificate.node_id, certificate.curve_public, certificate.sign_public, certificate.name)
        me = self._identity
        if got != (me.node_id, me.curve_public, me.sign_public, self._wanted):
            raise CertificateRefusedError("the new certificate is another than was asked for")
        return signed

    def _waits(self, reason: str) -> None:
        """Once a reason: it is asked again for as long as the node lives."""
        if reason == self._told:
            return
        self._told = reason
        name = self._record().name
        log.warning("new name waits", extra={"node": name, "wanted": self._wanted, "reason": reason})
        self._events.add("node.rename_waits", name, {"wanted": self._wanted, "reason": reason})

"""New keys under the same node id: `fabric node rotate-key`.

A crash at any step leaves a node that can speak:
1. New keys are made, the conductor certifies them, and both become durable in `node.key.next`. Nobody else
   knows of them; the node goes on under its old keys.
2. The node's first word under the new keys, which is that it restarts, goes to the conductor. Its log then
   knows them, it tells the mesh, and the old ones are spent. (The conductor itself tells the mesh before it
   leaves: nobody else could.) The node may die before it hears so, hence `finish`: as long as `node.key.next`
   is there, the node asks again, and where its old key is refused already it tries the new one at its peers.
3. `fabric.member` and `node.key` are replaced, in this order, and `node.key.next` goes. `settle` completes
   that at the next start, should it have been cut short.
Then the agent begins anew with the new keys. Guests do not notice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import sign_record
from fabric.errors import DeadlineExceededError, FabricError, RemoteError
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.handshake import is_admitted
from fabric.runtime.certificate_request import CALL_TIMEOUT_MS, Issuer
from fabric.runtime.fleet import Fleet
from fabric.runtime.node_identity import (
    Membership,
    NodeIdentity,
    NodeKeys,
    identity_of,
    load_membership,
    new_keys,
    next_epoch,
    read_private,
    save_keys,
    save_membership,
)
from fabric.runtime.state_wire import rejection_of
from fabric.store.files import write_private
from proto.codec import pack
from proto.errors import Outcome
from proto.membership import Presence
from proto.records import to_wire

log = logging.getLogger(__name__)

PENDING_FILE = "node.key.next"
RETRY_S_FIRST, RETRY_S_MAX = 1.0, 60.0
PEERS_TRIED_MAX = 8


class RotationError(FabricError):
    """Not rotated; the node goes on under its old keys."""

    code = "fabric.identity.rotation"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True)
class PendingKeys:
    """Keys that wait for their turn, with the certificate that makes them this node's."""

    keys: NodeKeys
    certificate: bytes


def pending_keys(directory: Path) -> PendingKeys | None:
    """Raises IdentityError when the file is damaged."""
    path = directory / PENDING_FILE
    return read_private(path, PendingKeys) if path.exists() else None


def settle(directory: Path) -> None:
    """At the start, before keys are read: ends a replacement that was cut short. Raises IdentityError."""
    pending, member = pending_keys(directory), load_membership(directory)
    if pending is not None and member is not None and member.certificate == pending.certificate:
        replace_keys(directory, member, pending)


def replace_keys(directory: Path, member: Membership, pending: PendingKeys) -> None:
    """The pending keys become the node's. Cut short after the first write, `settle` does the rest."""
    save_membership(directory, replace(member, certificate=pending.certificate))
    save_keys(directory, pending.keys)
    (directory / PENDING_FILE).unlink(missing_ok=True)


class Rotation:
    """Made when the mesh runs."""

    def __init__(
        self,
        directory: Path,
        member: Membership,
        identity: NodeIdentity,
        issuer: Issuer,
        fleet: Fleet,
        *,
        tell: Callable[[NodeIdentity, bytes], None],
        begin_anew: Callable[[], None],
    ) -> None:
        """`tell` the mesh of the keys and certificate of this node, the conductor, and leave; for any other
        node the conductor does so. `begin_anew` ends this life of the agent."""
        self._directory = directory
        self._member = member
        self._identity = identity
        self._issuer = issuer
        self._fleet = fleet
        self._tell = tell
        self._begin_anew = begin_anew
        self._busy = asyncio.Lock()
        self._unfinished = asyncio.Event()
        if pending_keys(directory) is not None:
            self._unfinished.set()

    def use(self, member: Membership) -> None:
        """Its certificate is a newer one now."""
        self._member = member

    async def rotate(self) -> None:
        """Returns when the new keys are the node's. Raises RotationError (nothing has changed),
        DeadlineExceededError (the new keys wait, and may be in force already; `finish` goes on with them)."""
        async with self._busy:
            pending = pending_keys(self._directory) or await self._prepare()
            try:
                await self._commit(pending)
            except RemoteError as error:
                if _is_rejected(error):
                    self._forget()
                    raise RotationError(f"the conductor refuses the new keys: {error}") from error
                self._unfinished.set()
                raise DeadlineExceededError(f"the new keys wait for the conductor: {error}") from error
            except FabricError as error:
                self._unfinished.set()
                raise DeadlineExceededError(f"the new keys wait for the conductor: {error}") from error

    async def finish(self) -> None:
        """A loop beside the agent. Ends what an earlier life, or an unknown outcome, has left to do."""
        pause_s = RETRY_S_FIRST
        while True:
            await self._unfinished.wait()
            await asyncio.sleep(pause_s)
            pause_s = min(RETRY_S_MAX, pause_s * 2)
            async with self._busy:
                pending = pending_keys(self._directory)
                if pending is not None:
                    await self._try_to_finish(pending)
                if pending_keys(self._directory) is None:
                    self._unfinished.clear()
                    pause_s = RETRY_S_FIRST

    async def _prepare(self) -> PendingKeys:
        keys = new_keys(self._identity.node_id)
        try:
            certificate = await self._issuer.certify(self._member, self._identity, identity_of(keys))
        except FabricError as error:
            raise RotationError(f"the conductor did not certify new keys: {error}") from error
        pending = PendingKeys(keys, certificate)
        await asyncio.to_thread(write_private, self._directory / PENDING_FILE, pack(to_wire(pending)))
        return pending

    async def _commit(self, pending: PendingKeys) -> None:
        """Raises as `Rpc.call`, and NoQuorumError."""
        conductor = self._issuer.need()
        fresh = identity_of(pending.keys)
        # An epoch of its own: nothing this process says under the old keys can outbid it.
        epoch = await asyncio.to_thread(next_epoch, self._directory)
        record = replace(
            self._my_record(),
            certificate=pending.certificate,
            curve_public=fresh.curve_public,
            epoch=epoch,
            incarnation=0,
            version=0,
        )
        state = sign_record(record, fresh.sign, presence=Presence.LEAVING).state
        body = {"certificate": state.certificate, "body": state.body, "signature": state.signature}
        await self._issuer.rpc.call(conductor, "node.rotate", body, timeout_ms=CALL_TIMEOUT_MS)
        if conductor == self._identity.node_id:
            self._tell(fresh, pending.certificate)
        await self._take(pending)

    async def _take(self, pending: PendingKeys) -> None:
        await asyncio.to_thread(replace_keys, self._directory, self._member, pending)
        log.info("keys rotated", extra={"node": self._identity.node_id})
        self._begin_anew()

    async def _try_to_finish(self, pending: PendingKeys) -> None:
        if await self._peers_know(pending):
            await self._take(pending)
            return
        try:
            await self._commit(pending)
        except FabricError as error:
            if isinstance(error, RemoteError) and _is_rejected(error):
                log.warning("pending keys dropped", extra={"reason": str(error)})
                self._forget()
            else:
                log.info("pending keys wait", extra={"reason": str(error)})

    async def _peers_know(self, pending: PendingKeys) -> bool:
        """Whether some peer lets in the new key already: then the old one is spent."""
        keys = CurveKeyPair(pending.keys.curve_public, pending.keys.curve_secret)
        others = [m.record for m in self._fleet.members() if m.record.node_id != self._identity.node_id]
        tries = (is_admitted(r.endpoint, keys, r.curve_public) for r in others[:PEERS_TRIED_MAX])
        return any(await asyncio.gather(*tries))

    def _my_record(self) -> NodeRecord:
        me = self._fleet.member(self._identity.node_id)
        assert me is not None, "a node knows itself"
        return me.record

    def _forget(self) -> None:
        (self._directory / PENDING_FILE).unlink(missing_ok=True)


def _is_rejected(error: RemoteError) -> bool:
    """The log says no, and will not say otherwise. Any other refusal may be of this attempt only, and
    another one may have succeeded unheard."""
    return rejection_of(error) is not None

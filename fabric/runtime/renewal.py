"""A node keeps its certificate young: from two thirds of its life it asks the conductor for the next one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

from fabric.errors import FabricError
from fabric.runtime.authority import Authority, issued_ms, read_own
from fabric.runtime.certificate_request import Issuer
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import Membership, NodeIdentity, save_membership
from proto.certificate import NodeCertificate

log = logging.getLogger(__name__)

LOOK_AGAIN_S = 3_600.0  # wall clocks are set: what is due is looked up anew at least this often
RETRY_S_FIRST, RETRY_S_MAX = 5.0, 3_600.0
TRIES_LEFT_MIN = 20  # however short the rest of the life is, so often it is tried
EXPIRING_PART = 6  # in the last sixth of its life it is an event that somebody should look at


def due_ms(certificate: NodeCertificate) -> int:
    """Wall time from which it should be renewed: two thirds of its life, as cert-manager does."""
    issued = issued_ms(certificate)
    return issued + (certificate.not_after_ms - issued) * 2 // 3


class Renewal:
    """`run` until cancelled. `publish` tells the mesh of the new certificate.

    It asks once at the start as well: a node whose files come from a backup may hold a certificate that is
    spent, and nobody believes it until it has the newer one."""

    def __init__(
        self,
        directory: Path,
        member: Membership,
        identity: NodeIdentity,
        issuer: Issuer,
        *,
        events: EventLog,
        name: str,
        publish: Callable[[bytes], None],
        rng: Random,
    ) -> None:
        self._directory = directory
        self._member = member
        self._identity = identity
        self._issuer = issuer
        self._events = events
        self._name = name
        self._publish = publish
        self._rng = rng

    def use(self, member: Membership) -> None:
        """It came another way: this is what is kept young from now on."""
        self._member = member

    async def run(self) -> None:
        retry_s, is_newest = RETRY_S_FIRST, False
        while True:
            certificate = read_own(self._member.certificate)
            wait_ms = due_ms(certificate) - self._now_ms()
            if is_newest and wait_ms > 0:
                await asyncio.sleep(min(LOOK_AGAIN_S, wait_ms / 1_000))
                continue
            try:
                await self.renew()
                retry_s, is_newest = RETRY_S_FIRST, True
            except (FabricError, OSError) as error:
                if wait_ms <= 0:
                    self._failed(certificate, error)
                elif isinstance(error, CertificateNotNewerError):
                    is_newest = True
                    continue
                left_s = max(0, certificate.not_after_ms - self._now_ms()) / 1_000
                pause_s = min(retry_s, max(left_s / TRIES_LEFT_MIN, 0.1)) if left_s else retry_s
                await asyncio.sleep(pause_s * self._rng.uniform(0.8, 1.2))
                retry_s = min(RETRY_S_MAX, retry_s * 2)

    async def renew(self) -> None:
        """Durable before the mesh hears of it. Raises what `Issuer.certify` raises, and OSError."""
        signed = await self._issuer.certify(self._member, self._identity, self._identity)
        if signed == self._member.certificate:
            raise CertificateNotNewerError("the conductor gave the certificate this node has")
        self._member = replace(self._member, certificate=signed)
        await asyncio.to_thread(save_membership, self._directory, self._member)
        self._publish(signed)
        fields = _fields(read_own(signed))
        log.info("certificate renewed", extra={"node": self._name, **fields})
        self._events.add("certificate.renewed", self._name, fields)

    def _failed(self, certificate: NodeCertificate, error: Exception) -> None:
        left_ms = certificate.not_after_ms - self._now_ms()
        fields = {**_fields(certificate), "reason": str(error)}
        if left_ms <= 0:
            log.error("certificate expired", extra={"node": self._name, **fields})
            self._events.add("certificate.expired", self._name, fields)
        elif left_ms < (certificate.not_after_ms - issued_ms(certificate)) // EXPIRING_PART:
            log.warning("certificate expires soon", extra={"node": self._name, **fields})
            self._events.add("certificate.expiring", self._name, fields)
        else:
            log.info("certificate not renewed", extra={"node": self._name, **fields})

    def _now_ms(self) -> int:
        return self._issuer.clock.wall_ms()


class CertificateNotNewerError(FabricError):
    """By the conductor's clock it is not time yet."""

    code = "fabric.certificate.not_newer"


def renew_founders_own(
    directory: Path, member: Membership, identity: NodeIdentity, authority: Authority, now_ms: int
) -> Membership:
    """The founder holds the root key, so it never has to ask: what is due is renewed before the agent speaks.
    Without this a founder that was away too long could let nobody in, itself included."""
    certificate = read_own(member.certificate)
    if now_ms < due_ms(certificate) or certificate.node_id != identity.node_id:
        return member
    signed = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name=certificate.name,
        now_ms=now_ms,
        roles=certificate.roles,
        node_id=certificate.node_id,
        generation=certificate.generation + 1,
    )
    renewed = replace(member, certificate=signed)
    save_membership(directory, renewed)
    return renewed


def _fields(certificate: NodeCertificate) -> dict[str, str]:
    return {"generation": str(certificate.generation), "not_after_ms": str(certificate.not_after_ms)}

"""Who this agent's node is, for as long as the agent runs: loaded and checked at its start, kept young,
changed on request, and given up when it must be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from fabric import __version__
from fabric.agent_roles import conductor_of
from fabric.config import Config
from fabric.core.membership.model import NodeRecord
from fabric.errors import FabricError
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.admission_watch import AdmissionWatch
from fabric.runtime.authority import ROOT_FILE, NodeTrust, check_admission, load_authority, read_own
from fabric.runtime.certificate_request import Issuer
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.expulsion import expelled, refuse_removed
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.node_admin import FAREWELL
from fabric.runtime.node_identity import (
    IdentityError,
    Membership,
    NodeIdentity,
    load_membership,
    load_or_create,
    new_boot_id,
    next_epoch,
    save_membership,
)
from fabric.runtime.renaming import Renaming
from fabric.runtime.renewal import Renewal, renew_founders_own
from fabric.runtime.rotation import Rotation, settle
from fabric.store.life_swap import STATE
from fabric.store.voter_id import FORMER, disown_voter
from proto.codec import Plain
from proto.ids import NodeId
from proto.membership import Removal
from proto.records import from_wire

log = logging.getLogger(__name__)


class IdentitySide:
    """`load`, then `record` for the mesh, then `open` once that runs; `work` are the loops beside it."""

    def __init__(self, config: Config, clock: Clock, events: EventLog, *, stop: Callable[[], None]) -> None:
        """`stop` has the agent stop; `ending` and `begins_anew` then say why. Once loaded, `config` has the
        name that this node's certificate has."""
        self.config = config
        self._directory = config.state_dir
        self._clock = clock
        self._events = events
        self._stop = stop
        self.name_wanted = ""  # "": what it is called
        self.ending: FabricError | None = None
        self.begins_anew = False
        self.rotation: Rotation | None = None
        self._renewal: Renewal | None = None
        self._renaming: Renaming | None = None
        self._admission: AdmissionWatch | None = None
        self._fleet: MembershipLoop | None = None
        self.identity: NodeIdentity
        self.member: Membership
        self.trust: NodeTrust

    def need_member(self) -> Membership:
        """Raises IdentityError with the next step where this node is no member yet."""
        member = load_membership(self._directory)
        if member is None:
            raise IdentityError(
                f"this node belongs to no fabric yet (state in {self._directory}); `fabric init` founds one, "
                "`fabric join TOKEN` enters one"
            )
        return member

    def load(self) -> None:
        """Raises IdentityError, NodeRemovedError. The state directory is locked by now."""
        name = self.config.node_name
        refuse_removed(self._directory, name)
        settle(self._directory)
        member = self.need_member()
        identity = load_or_create(self._directory)
        authority = load_authority(self._directory, member.fabric_id)
        if authority is not None:
            member = renew_founders_own(self._directory, member, identity, authority, self._clock.wall_ms())
        certificate = check_admission(member, identity, now_ms=self._clock.wall_ms())
        if certificate.name != name:
            self.name_wanted = name
            self.config = replace(self.config, node=replace(self.config.node, name=certificate.name))
        self.identity, self.member = identity, member
        self.trust = NodeTrust(
            identity,
            root_public=member.root_public,
            fabric_id=member.fabric_id,
            now_ms=self._clock.wall_ms,
        )

    def record(self, endpoint: str) -> NodeRecord:
        """What this life says first. Its epoch is durable when this returns; it waits for the disk."""
        return NodeRecord(
            node_id=self.identity.node_id,
            name=self.config.node_name,
            endpoint=endpoint,
            curve_public=self.identity.curve_public,
            certificate=self.member.certificate,
            epoch=next_epoch(self._directory),
            version=1,
            zone=self.config.node.zone,
            rack=self.config.node.rack,
            software=__version__,
            boot_id=new_boot_id(),
        )

    def open(self, fleet: MembershipLoop, rpc: Rpc) -> None:
        self._fleet = fleet
        rpc.serve(FAREWELL, self._on_farewell)
        issuer = Issuer(rpc=rpc, conductor=lambda: conductor_of(fleet), clock=self._clock)
        self.rotation = Rotation(
            self._directory,
            self.member,
            self.identity,
            issuer,
            fleet,
            tell=self._tell_new_keys,
            begin_anew=self._begin_anew,
        )
        self._renewal = Renewal(
            self._directory,
            self.member,
            self.identity,
            issuer,
            events=self._events,
            name=self.config.node_name,
            publish=self._certificate_changed,
            rng=Random(),  # noqa: S311  # jitter, not a secret
        )
        if self.name_wanted:
            self._renaming = Renaming(
                self._directory,
                self.identity,
                issuer,
                self._events,
                member=lambda: self.member,
                record=self._my_record,
                wanted=self.name_wanted,
                renamed=self._take_name,
            )
        self._admission = AdmissionWatch(
            fleet,
            CurveKeyPair(self.identity.curve_public, self.identity.curve_secret),
            self._events,
            self._clock,
            name=self.config.node_name,
            remove=fleet.remove,
        )

    def work(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        assert self.rotation is not None
        assert self._renewal is not None
        assert self._admission is not None
        renaming = () if self._renaming is None else (("renaming", self._renaming.run()),)
        return (
            ("admission watch", self._admission.run()),
            ("certificate renewal", self._renewal.run()),
            ("key rotation", self.rotation.finish()),
            *renaming,
        )

    @property
    def not_admitted(self) -> str:
        """What to tell the operator where no member lets this node in; "" while one does."""
        return "" if self._admission is None else self._admission.note

    def on_quarantine(self, reason: str, endpoint: str) -> None:
        """Membership has fallen silent already; the rest of the agent follows."""
        self.ending = expelled(self._directory, self.config.node_name, reason, endpoint)
        kind = "node.cloned" if endpoint else "node.expelled"
        self._events.add(kind, self.config.node_name, {"reason": reason, "endpoint": endpoint})
        self._stop()

    async def _on_farewell(self, peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        """Whoever brings it: the removal is the root's word, and membership looks at its signature."""
        assert self._fleet is not None
        removal = from_wire(Removal, dict(body))
        asyncio.get_running_loop().call_soon(self._fleet.remove, removal)  # after the answer has left
        return {}

    def adopt(self, member: Membership) -> None:
        """A newer certificate of this node is durable when this returns, and the mesh hears of it. Raises
        OSError."""
        save_membership(self._directory, member)
        self.member = member
        if self._is_renamed():
            return
        if self._renewal is not None:
            self._renewal.use(member)
        if self.rotation is not None:
            self.rotation.use(member)
        if self._fleet is not None:
            self._fleet.publish(certificate=member.certificate, urgent=True)

    def _certificate_changed(self, certificate: bytes) -> None:
        self.member = replace(self.member, certificate=certificate)
        assert self._fleet is not None
        if not self._is_renamed():
            self._fleet.publish(certificate=certificate)

    def _take_name(self, certificate: bytes) -> None:
        """Raises OSError."""
        self.adopt(replace(self.member, certificate=certificate))

    def _is_renamed(self) -> bool:
        """Whether its newest certificate has another name than it goes by: then this life ends, for name and
        certificate have to change together. However it came: an answer may have been lost."""
        name = read_own(self.member.certificate).name
        if name == self.config.node_name:
            return False
        log.info("renamed", extra={"node": self.config.node_name, "to": name})
        self.begins_anew = True
        self._stop()
        return True

    def _my_record(self) -> NodeRecord:
        assert self._fleet is not None
        me = self._fleet.member(self._fleet.me)
        assert me is not None, "a node knows itself"
        return me.record

    def _tell_new_keys(self, fresh: NodeIdentity, certificate: bytes) -> None:
        """Over links the old keys made: links by the new ones are the next life's."""
        assert self._fleet is not None
        self.trust.use(fresh)
        self._fleet.publish(certificate=certificate, curve_public=fresh.curve_public, urgent=True)
        self._fleet.leave()

    def begin_anew_without(self) -> None:
        """This node is no voter any more. Its rows are set aside at the next start, which comes at once, and
        the root's key goes. Once a life."""
        if self.begins_anew:
            return
        disown_voter(self._directory / STATE, FORMER)
        (self._directory / ROOT_FILE).unlink(missing_ok=True)
        self.begins_anew = True
        self._stop()

    def _begin_anew(self) -> None:
        self._events.add("node.rotated", self.config.node_name, {"id": self.identity.node_id})
        self.begins_anew = True
        self._stop()

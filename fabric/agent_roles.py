"""What the node that conducts does beside being a node: rows, scheduling, deadlines, nudges, the join door.

In first light the founder holds every cluster role, inside its agent. Each part knows only contracts, so
that elections (design/log.md) can move them without touching them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from fabric.config import Config
from fabric.core.identity.queries import GetFabric
from fabric.core.membership.model import RoleClaim
from fabric.core.nodes.queries import GetNode
from fabric.core.queries import AppliedEntry
from fabric.errors import ConfigError
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.addresses import endpoint_of
from fabric.runtime.admission_watch import DOOR_LABEL
from fabric.runtime.authority import NodeTrust, load_authority, read_own
from fabric.runtime.certificate_service import CertificateService
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.fleet import Fleet
from fabric.runtime.founding import first_entry, forget_first_entry
from fabric.runtime.hard_state import HardState
from fabric.runtime.host_calls import HostNudger
from fabric.runtime.join import Admission, create_token
from fabric.runtime.join_door import DoorServer
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.node_admin import NodeAdmin
from fabric.runtime.node_identity import IdentityError, Membership, NodeIdentity, save_membership
from fabric.runtime.readmission import readmit
from fabric.runtime.reaper import Reaper
from fabric.runtime.rotation import pending_keys
from fabric.runtime.scheduler_loop import SchedulerLoop
from fabric.runtime.standing import standing
from fabric.runtime.state_service import StateService
from proto.commands import Command
from proto.commands.nodes import HostUpdate, NodeAdmit, NodeRemove, NodeRenew, RoleHold
from proto.commands.servers import (
    ServerAct,
    ServerCreate,
    ServerExpire,
    ServerObserved,
    ServerPlace,
    ServerRemoved,
    ServerUnplaceable,
)
from proto.ids import Fence, NodeId, RequestId, new_request_id
from proto.membership import NodeState

log = logging.getLogger(__name__)

ANSWER_GRACE_S = 0.3
ROLES = ("conductor", "scheduler", "api")
ASKING_ROLES = ("conductor", "api")  # the one nudges hosts, the other shows their guests' consoles
_TOLD = {  # applied commands that are part of the fabric's story
    ServerCreate: "server.create",
    ServerPlace: "server.placed",
    ServerUnplaceable: "server.unplaceable",
    ServerObserved: "server.observed",
    ServerRemoved: "server.removed",
    ServerExpire: "server.expired",
}
_TOLD_OF_NODES: dict[type[Command], str] = {
    NodeAdmit: "node.admitted",
    NodeRenew: "node.certified",
    NodeRemove: "node.removed",
}


class Conductor:
    """Open before use; `work` are the loops to run beside it."""

    def __init__(
        self,
        *,
        config: Config,
        identity: NodeIdentity,
        member: Membership,
        trust: NodeTrust,
        fleet: MembershipLoop,
        rpc: Rpc,
        clock: Clock,
        events: EventLog,
        address: str,
        on_failure: Callable[[BaseException], None],
    ) -> None:
        from fabric.store.engine import Engine, engine_for  # only here: hosts do without SQLAlchemy

        authority = load_authority(config.state_dir, member.fabric_id)
        if authority is None:
            raise IdentityError(f"the founder's root key is missing from {config.state_dir}; restore it")
        self._authority = authority
        self._config = config
        self._identity = identity
        self._member = member
        self._trust = trust
        self._fleet = fleet
        self._rpc = rpc
        self._clock = clock
        self._events = events
        self._state: Engine = engine_for(
            config.state.url,
            config.state_dir / "state",
            clock=clock,
            segment_bytes=config.state.segment_bytes,
            on_failure=on_failure,
        )
        admission = Admission(
            self._state,
            authority,
            trust,
            clock,
            known=fleet.states,
            removals=fleet.removals,
            admitted=fleet.admit,
        )
        self.admin = NodeAdmin(self._state, authority, fleet, rpc, clock)
        keys = CurveKeyPair(identity.curve_public, identity.curve_secret)
        self._door = DoorServer(
            keys,
            bind=endpoint_of(address, config.mesh.door_port),
            admit=admission.admit,
            clock=clock,
            stand=lambda request, curve_public: standing(self._state, request, curve_public),
        )
        self._door_endpoint = ""
        self._grants: dict[str, RoleClaim] = {}

    async def open(self) -> HardState:
        """Recovers the rows, founds the fabric on the first start, takes the roles."""
        await self._state.open()
        await self._found()
        await self._take_roles()
        self._state.subscribe(self._tell)
        StateService(self._state, self._rpc, self._name_of)
        CertificateService(
            self._state,
            self._authority,
            self._trust,
            self._rpc,
            self._clock,
            rotated=self._tell_new_keys,
        )
        await readmit(self._state, self._fleet, self._trust)
        self._door_endpoint = await self._door.start()
        self._fleet.publish(labels={DOOR_LABEL: self._door_endpoint})
        return self._state

    @property
    def door_endpoint(self) -> str:
        """ "" until the door is open."""
        return self._door_endpoint

    async def close(self) -> None:
        await self._door.close()
        await self._state.close()

    def work(self) -> tuple[tuple[str, Coroutine[Any, Any, None]], ...]:
        state, fleet = self._state, self._fleet
        return (
            ("host nudger", HostNudger(state, self._rpc, fleet).run()),
            ("scheduler", SchedulerLoop(state, fleet, self._fence, self._clock).run()),
            ("reaper", Reaper(state, fleet, self._clock).run()),
        )

    def claims(self) -> tuple[RoleClaim, ...]:
        return tuple(self._grants.values())

    async def create_token(self, *, ttl_s: int, uses: int) -> str:
        return await create_token(
            self._state,
            addresses=(self._door_endpoint,),
            door_public=self._identity.curve_public,
            root_public=self._member.root_public,
            now_ms=self._clock.wall_ms(),
            ttl_s=ttl_s,
            uses=uses,
        )

    async def _found(self) -> None:
        """The first entries of the log, under the same request ids each time: a crash repeats nothing."""
        fabric_id = self._member.fabric_id
        first = first_entry(self._config.state_dir)
        rows = await self._state.read(GetFabric())
        if rows is not None and rows.fabric_id != fabric_id:
            raise ConfigError(
                f"state.url: that database holds fabric {rows.fabric_id}, but this node founded {fabric_id}; "
                "each fabric needs a database of its own"
            )
        if rows is None:
            if first is None:
                raise IdentityError(
                    f"the rows of fabric {fabric_id} are gone, and its first entry too; restore a backup of "
                    f"{self._config.state_dir}"
                )
            await self._state.propose(first, request_id=RequestId(f"init/{fabric_id}"))
        await self._enter_own_row()
        forget_first_entry(self._config.state_dir)

    async def _enter_own_row(self) -> None:
        row = await self._state.read(GetNode(node_id=self._identity.node_id))
        if row is not None and pending_keys(self._config.state_dir) is not None:
            return  # the row may know the keys that `Rotation.finish` is about to take
        if row is not None and row.generation > read_own(self._member.certificate).generation:
            self._outdo(row.generation)
        certificate = self._member.certificate
        generation = read_own(certificate).generation
        me = self._identity
        if row is None:
            await self._state.propose(
                NodeAdmit(
                    node_id=me.node_id,
                    name=self._config.node_name,
                    curve_public=me.curve_public,
                    certificate=certificate,
                    generation=generation,
                ),
                request_id=new_request_id(),
            )
        elif row.certificate != certificate:
            await self._state.propose(
                NodeRenew(
                    node_id=me.node_id,
                    curve_public=me.curve_public,
                    certificate=certificate,
                    generation=generation,
                ),
                request_id=new_request_id(),
            )

    def _outdo(self, generation: int) -> None:
        """The log knows a newer certificate of this node than its files do: they come from a backup.
        Everybody holds ours for spent, so a newer one is issued before anything else is said."""
        known = read_own(self._member.certificate)
        certificate = self._authority.issue(
            curve_public=self._identity.curve_public,
            sign_public=self._identity.sign_public,
            name=known.name,
            now_ms=self._clock.wall_ms(),
            roles=known.roles,
            node_id=self._identity.node_id,
            generation=generation + 1,
        )
        self._member = replace(self._member, certificate=certificate)
        save_membership(self._config.state_dir, self._member)
        self._fleet.publish(certificate=certificate, urgent=True)

    async def _take_roles(self) -> None:
        for role in ROLES:
            command = RoleHold(role=role, node_id=self._identity.node_id)
            applied = await self._state.propose(command, request_id=new_request_id())
            since_ms = self._clock.wall_ms()
            self._grants[role] = RoleClaim(role=role, fence=applied.index, since_ms=since_ms)
            self._events.add(
                "role.granted", self._config.node_name, {"role": role, "fence": str(applied.index)}
            )

    def _tell_new_keys(self, state: NodeState) -> None:
        """The answer goes out on a link by the old keys, so the mesh hears a little later. Should the agent
        die meanwhile, `readmit` tells it at the next start."""
        if read_own(state.certificate).node_id != self._identity.node_id:
            asyncio.get_running_loop().call_later(ANSWER_GRACE_S, self._fleet.admit, state)

    def _name_of(self, node_id: NodeId) -> str | None:
        member = self._fleet.member(node_id)
        return None if member is None else member.record.name

    def _fence(self) -> Fence | None:
        claim = self._grants.get("scheduler")
        return None if claim is None else Fence(claim.fence)

    def _tell(self, entry: AppliedEntry) -> None:
        command = entry.command
        told = _TOLD_OF_NODES.get(type(command))
        if told is not None:
            node_id: NodeId = command.node_id  # type: ignore[attr-defined]
            index = {"id": node_id, "index": str(entry.index)}
            name = command.name if isinstance(command, NodeAdmit) else self._name_of(node_id)
            self._events.add(told, name or node_id, index)
            return
        event = _TOLD.get(type(command))
        if isinstance(command, HostUpdate) and command.enabled is not None:
            host_id, (drained, reason) = command.host_id, told_of_drain(command)
            self._events.add(drained, self._name_of(host_id) or host_id, {"id": host_id, "reason": reason})
            return
        if isinstance(command, ServerAct):
            event = f"server.{command.verb}"
        if event is None:
            return
        fields = {"server": str(command.server_id), "index": str(entry.index)}  # type: ignore[attr-defined]
        node = self._config.node_name
        if isinstance(command, ServerPlace | ServerObserved | ServerRemoved):
            host = self._fleet.member(command.host_id)
            node = command.host_id if host is None else host.record.name
        self._events.add(str(event), node, fields)


def told_of_drain(command: HostUpdate) -> tuple[str, str]:
    """(event, reason) of a host that takes no new servers, or takes them again."""
    if command.enabled:
        return "node.undrained", "it takes new servers again"
    why = f": {command.disabled_reason}" if command.disabled_reason else ""
    return "node.drained", f"it takes no new servers{why}"


def may_ask_hosts(fleet: Fleet, node_id: NodeId) -> bool:
    """Whether hosts owe that node an answer: it says that it conducts or serves the API, and its
    certificate lets it say so (membership refuses the claim otherwise)."""
    member = fleet.member(node_id)
    return member is not None and any(claim.role in ASKING_ROLES for claim in member.record.roles)


def conductor_of(fleet: Fleet) -> NodeId | None:
    """The living node with the newest claim to conduct; None while there is none."""
    best: tuple[int, NodeId] | None = None
    for member in fleet.members():
        for claim in member.record.roles:
            if claim.role == "conductor" and fleet.is_alive(member.record.node_id):
                best = max(best or (-1, NodeId("")), (claim.fence, member.record.node_id))
    return None if best is None else best[1]

"""What a node does that holds the rows: it votes, answers hosts and voters, lets nodes in, and while it leads
conducts. A founder is one from the beginning; any other node becomes one when the conductor invites it.

Parts know only contracts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from fabric.agent_conductor import ConductorDuties, Work
from fabric.agent_engine import is_of_first_light, make_engine
from fabric.agent_roles import conductor_of, may_vote
from fabric.config import Config
from fabric.core.identity.queries import GetFabric
from fabric.core.membership.model import MemberState, RoleClaim
from fabric.core.placement.policy import Policy
from fabric.core.voters.roles import SCHEDULER
from fabric.errors import FabricError, Outcome
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.errors import TransportError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.addresses import endpoint_of
from fabric.runtime.authority import ROOT_FILE, NodeTrust, load_authority, read_own
from fabric.runtime.certificate_service import CertificateService
from fabric.runtime.clock import Clock
from fabric.runtime.control_story import ControlStory
from fabric.runtime.entrusting import Entruster
from fabric.runtime.events import EventLog
from fabric.runtime.first_rows import FirstRows
from fabric.runtime.former_watch import FormerWatch
from fabric.runtime.founding import first_entry
from fabric.runtime.group_watch import GroupWatch
from fabric.runtime.hard_state import HardState
from fabric.runtime.invitation import Inviter
from fabric.runtime.join import Admission, create_token
from fabric.runtime.join_door import DoorServer
from fabric.runtime.lead_loop import CONDUCTOR, LeadLoop
from fabric.runtime.lease_status import LeaseSeen
from fabric.runtime.level_watch import HaltWatch
from fabric.runtime.log_status import LogStatusService, log_status, nobody_votes
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.node_admin import NodeAdmin
from fabric.runtime.node_identity import IdentityError, Membership, NodeIdentity
from fabric.runtime.ownership import owner_check
from fabric.runtime.readmission import readmit
from fabric.runtime.role_holder import RoleHolder
from fabric.runtime.scheduler_loop import SchedulerLoop
from fabric.runtime.standing import standing
from fabric.runtime.state_service import StateService
from fabric.runtime.voter import NodeVoter
from fabric.runtime.voter_peers import VoterRoute
from fabric.store.life_swap import STATE, settle
from fabric.store.voter_id import VOTER_ID_FILE, disown_voter, failed_states, set_aside
from fabric.store.voter_starts import is_older_than_its_node
from proto.ids import NodeId, VoterId, node_of
from proto.membership import NodeState

log = logging.getLogger(__name__)

ANSWER_GRACE_S = 0.3
FILLED_LOOK_S = 0.05
HAND_OVER_S = 2.0
RETRY_S = 1.0
DOOR_RETRY_S = 30.0
GONE_STATES = (MemberState.LEFT, MemberState.FORGOTTEN)

Claim = Callable[[str, RoleClaim | None], None]


class NoVotersError(FabricError):
    """It cannot be done to this fabric's voters, or not here; the message says why."""

    code = "fabric.voters.not_here"
    outcome = Outcome.NOT_DONE


class Service(Protocol):
    def close(self) -> None: ...


def holds_rows(
    config: Config, *, is_founder: bool, others_vote: bool, tell: Callable[[str, str], None]
) -> bool:
    """Whether this node has rows of its own from its start on: a voter of an earlier life, or who founds.
    `tell` hears, as an event, that they were set back. Raises IdentityError where they are gone,
    LogCorruptError, OSError."""
    settle(config.state_dir)  # a recovery or restoration that a crash cut short
    directory = config.state_dir / STATE
    if (directory / VOTER_ID_FILE).exists() and is_older_than_its_node(directory, config.state_dir):
        tell("voter.set_back", _set_back(directory, others_vote=others_vote))
    aside = set_aside(directory)
    if aside is not None:
        log.warning("files of a former voter set aside", extra={"path": str(aside)})
        return False
    if (directory / VOTER_ID_FILE).exists() or is_of_first_light(directory):
        return True
    if not is_founder or not (config.state_dir / ROOT_FILE).exists():
        return False
    if first_entry(config.state_dir) is not None:
        return True
    if others_vote and failed_states(config.state_dir):
        return False  # set aside at an earlier start, and not asked to vote again yet
    raise IdentityError(
        f"the rows are gone from {config.state_dir / STATE}; `fabric restore` brings a backup back. "
        f"Where other voters of this fabric live, remove {config.state_dir / ROOT_FILE} instead: this node "
        "comes back as a host, and may become a voter again"
    )


def _set_back(directory: Path, *, others_vote: bool) -> str:
    """It was put back from an older copy, and has forgotten what it promised since: votes, and writes that
    were acknowledged. Gives what becomes of it. Raises OSError."""
    if others_vote:
        disown_voter(directory)
        what = "it votes no more under its name, and learns everything anew from the others"
    else:
        what = "no other node has what came after it: those writes are lost"
    log.critical("the state is an older copy", extra={"path": str(directory), "next": what})
    return f"{directory} is an older copy of itself: {what}"


def others_may_vote(fleet: MembershipLoop, trust: NodeTrust) -> bool:
    """Whether another node was ever invited to, as its certificate says, and has not left for good."""
    return any(
        may_vote(fleet, trust, member.record.node_id)
        for member in fleet.members()
        if member.record.node_id != fleet.me and member.state not in GONE_STATES
    )


class VoterSide:
    """`open`, then `work` beside the rest of the agent, `close`."""

    def __init__(
        self,
        *,
        config: Config,
        identity: NodeIdentity,
        member: Callable[[], Membership],
        adopt: Callable[[Membership], None],
        trust: NodeTrust,
        fleet: MembershipLoop,
        rpc: Rpc,
        route: VoterRoute,
        clock: Clock,
        events: EventLog,
        address: str,
        claim: Claim,
        on_door: Callable[[str], None],
        label: Callable[[dict[str, str]], None],
        on_filled: Callable[[HardState], Awaitable[None]],
        on_failure: Callable[[BaseException], None],
        on_halted: Callable[[str], None],
        on_let_go: Callable[[VoterId], Awaitable[None]],
        duties: Callable[[], Sequence[Work]] = tuple,
        scheduler: Policy | None = None,
    ) -> None:
        """`claim` a role before the mesh, or give it up (None); `on_door` hears where the join door is;
        `label` puts labels on this node's record; `on_filled` is awaited once, when the rows are there to be
        read; `on_let_go` when the group turns out to know this voter no more, or was made anew without it;
        `duties`: what else this agent does while it conducts; `scheduler`: how it places, None: by default.
        Raises IdentityError, ConfigError."""
        self._policy = scheduler
        self._on_let_go = on_let_go
        self._on_halted = on_halted
        authority = load_authority(config.state_dir, member().fabric_id)
        if authority is None:
            raise IdentityError(f"the root key is missing from {config.state_dir}; restore it from a backup")
        self._authority = authority
        self._config = config
        self._identity = identity
        self._member = member
        self._trust = trust
        self._fleet = fleet
        self._rpc = rpc
        self._clock = clock
        self._events = events
        self._claim = claim
        self._on_door = on_door
        self._on_filled = on_filled
        self._engine = make_engine(
            config,
            member(),
            identity,
            route,
            rpc,
            clock,
            on_failure,
            others_vote=others_may_vote(fleet, trust),
            fleet=fleet,
            address=address,
            label=label,
        )
        self._state = self._engine.state
        self._first_rows = FirstRows(
            self._state,
            config.state_dir,
            name=config.node_name,
            identity=identity,
            authority=authority,
            clock=clock,
            adopt=adopt,
        )
        self._door = self._make_door(address)
        self._services: list[Service] = []
        self._serving = asyncio.Event()
        self.door_endpoint = ""  # "" until the door is open
        self.admin = NodeAdmin(self._state, authority, fleet, rpc, clock, votes=self._votes)
        inviter = Inviter(self._state, authority, rpc, clock, incarnation=self._engine.incarnation)
        self._conductor = ConductorDuties(
            self._engine,
            config=config,
            fleet=fleet,
            rpc=rpc,
            clock=clock,
            events=events,
            inviter=inviter,
            entrust=Entruster(self._state, authority, rpc, certify=inviter.certify).entrust,
            may_conduct=lambda node_id: may_vote(fleet, trust, node_id),
            readmit=self._readmit,
            more=duties,
        )

    def _make_door(self, address: str) -> DoorServer:
        admission = Admission(
            self._state,
            self._authority,
            self._trust,
            self._clock,
            known=self._fleet.states,
            removals=self._fleet.removals,
            member=self._fleet.member,
            admitted=self._fleet.admit,
        )
        return DoorServer(
            CurveKeyPair(self._identity.curve_public, self._identity.curve_secret),
            bind=endpoint_of(address, self._config.mesh.door_port),
            admit=admission.admit,
            clock=self._clock,
            stand=lambda request, curve_public: standing(self._state, request, curve_public),
        )

    @property
    def state(self) -> HardState:
        return self._state

    @property
    def is_serving(self) -> bool:
        """The rows are there, and this node answers for them."""
        return self._serving.is_set()

    @property
    def voter_id(self) -> VoterId | None:
        voter = self._engine.voter
        return None if voter is None else voter.me

    @property
    def incarnation(self) -> int:
        """Which life of the group these rows are of; 0 where there never was a group."""
        return self._engine.incarnation

    # ---- life

    async def open(self) -> None:
        """Recovers the rows; founds the fabric where this is its first start. Serves when it returns, unless
        this voter is new and waits for its rows.

        Raises: what the engine raises, ConfigError, IdentityError.
        """
        await self._engine.open()
        if self._engine.is_founding:
            await self._first_rows.found(self._member())
            await self._first_rows.enter_own(self._member())
        elif self._engine.voter is None:
            await self._first_rows.need_fabric(self._member())
        if await self._is_filled():
            await self._serve()

    def work(self) -> tuple[Work, ...]:
        lead = LeadLoop(
            self._engine.leading,
            self._identity.node_id,
            self._clock,
            duties=self._conductor.duties,
            claim=lambda claim: self._claim(CONDUCTOR, claim),
        )
        scheduler = RoleHolder(
            SCHEDULER,
            self._state,
            self._rpc,
            self._clock,
            me=self._identity.node_id,
            leader=self._leader_node,
            work=lambda fence: SchedulerLoop(
                self._state, self._fleet, lambda: fence, self._clock, policy=self._policy
            ).run(),
            claim=lambda claim: self._claim(SCHEDULER, claim),
        )
        works: list[Work] = [
            ("voter", self._fill()),
            ("lead", lead.run()),
            ("scheduler", scheduler.run()),
        ]
        voter, voter_id = self._engine.voter, self.voter_id
        if voter is not None and voter_id is not None:
            group = GroupWatch(self._fleet, self.incarnation, lambda: self._on_let_go(voter_id))
            former = FormerWatch(
                voter, self._rpc, conductor=lambda: conductor_of(self._fleet), end=self._on_let_go
            )
            halt = HaltWatch(voter, self._events, self._config.node_name, self._on_halted)
            works += [
                ("group watch", group.run()),
                ("former watch", former.run()),
                ("halt watch", halt.run()),
            ]
        return tuple(works)

    def _leader_node(self) -> NodeId | None:
        voter = self._engine.voter
        if voter is None:
            return conductor_of(self._fleet)
        return None if voter.leader_id is None else node_of(voter.leader_id)

    @property
    def is_wanted(self) -> bool:
        """It votes and follows a leader: nobody who knows better has let it go."""
        voter = self._engine.voter
        return voter is not None and voter.leader_id is not None and voter.me in voter.configuration.voters

    @property
    def leads(self) -> bool:
        return self._engine.leading.is_leader

    def leases(self) -> tuple[LeaseSeen, ...]:
        """As this node knows them, which leads."""
        return self._conductor.leases()

    async def log_status(self) -> dict[str, Any]:
        """See `fabric.runtime.log_status`. Raises StoreStoppedError."""
        voter = self._engine.voter
        if voter is None:
            return nobody_votes(self._state)
        return await log_status(voter, self._state, self._conductor.autopilot_says)

    async def hand_over_to(self, node_id: NodeId) -> None:
        """Lets the voter on that node lead. Only where this node leads; raises NoVotersError."""
        voter = self._engine.voter
        if voter is None:
            raise NoVotersError("this fabric's rows live in a database of their own: nobody votes")
        if not voter.is_leader:
            leader = voter.leader_id
            where = "nobody leads now" if leader is None else f"ask on {self._named(node_of(leader))}"
            raise NoVotersError(f"only the leader hands over; {where}")
        heirs = [each for each in voter.configuration.voters if node_of(each) == node_id]
        if not heirs:
            raise NoVotersError(f"{self._named(node_id)} does not vote; `fabric voters` lists who does")
        if heirs[0] != voter.me and not await self._transfer(voter, heirs[0]):
            raise NoVotersError(f"{self._named(node_id)} did not take the lead in {HAND_OVER_S:.0f} s")

    async def hand_over(self) -> None:
        """Before a planned stop: whoever is furthest along leads on, within a moment or not at all."""
        try:
            async with asyncio.timeout(HAND_OVER_S):
                await self._engine.stand_back()
        except (FabricError, TimeoutError) as error:
            log.warning("lead not given up", extra={"reason": str(error) or "the database is slow"})
        voter = self._engine.voter
        heir = None if voter is None or not voter.is_leader else voter.furthest_other()
        if voter is not None and heir is not None and not await self._transfer(voter, heir):
            log.warning("lead not handed over", extra={"to": heir})

    async def _transfer(self, voter: NodeVoter, heir: VoterId) -> bool:
        changed = asyncio.Event()
        unsubscribe = voter.watch_lead(changed.set)
        try:
            voter.transfer(heir)
            async with asyncio.timeout(HAND_OVER_S):
                while voter.leader_id != heir:  # first nobody leads, and another may be quicker
                    changed.clear()
                    await changed.wait()
            return True
        except TimeoutError:
            return False
        finally:
            unsubscribe()

    async def close(self) -> None:
        """Twice is the same as once."""
        services, self._services = self._services, []
        for service in services:
            service.close()
        await self._door.close()
        await self._engine.close()

    async def _fill(self) -> None:
        """Waits for the rows, then keeps this node's own row true. Until cancelled."""
        while not self.is_serving:
            if await self._is_filled():
                await self._serve()
                break
            await asyncio.sleep(FILLED_LOOK_S)
        while True:
            try:
                await self._first_rows.enter_own(self._member())
                break
            except FabricError as error:
                log.info("own row not entered yet", extra={"reason": str(error)})
                await asyncio.sleep(RETRY_S)
        while not self.door_endpoint:
            await asyncio.sleep(DOOR_RETRY_S)
            with contextlib.suppress(TransportError):
                await self._open_door()
        await asyncio.Event().wait()

    async def _is_filled(self) -> bool:
        return await self._state.read(GetFabric()) is not None

    async def _serve(self) -> None:
        self._state.subscribe(ControlStory(self._events, self._name_of, node=self._config.node_name).tell)
        self._engine.serve()
        self._services = [
            StateService(self._state, self._rpc, self._name_of, owner_check(self._fleet, self._clock)),
            CertificateService(
                self._state,
                self._authority,
                self._trust,
                self._rpc,
                self._clock,
                rotated=self._tell_new_keys,
            ),
            LogStatusService(self._rpc, self.log_status, self._is_member),
        ]
        await self._readmit()
        try:
            await self._open_door()
        except TransportError as error:
            if self._member().founder:
                raise
            # It became a voter by itself, maybe long after its start: it votes on, others let nodes in.
            log.error("join door not open", extra={"reason": str(error), "retry_s": DOOR_RETRY_S})
        await self._on_filled(self._state)
        self._serving.set()

    async def _open_door(self) -> None:
        """Raises TransportError."""
        self.door_endpoint = await self._door.start()
        self._on_door(self.door_endpoint)

    # ---- what an operator asks

    async def create_token(self, *, ttl_s: int, uses: int) -> str:
        if not self.door_endpoint:
            raise IdentityError("this node's join door is not open yet; try again, or ask another voter")
        return await create_token(
            self._state,
            addresses=(self.door_endpoint,),
            door_public=self._identity.curve_public,
            root_public=self._member().root_public,
            now_ms=self._clock.wall_ms(),
            ttl_s=ttl_s,
            uses=uses,
        )

    # ---- what services ask

    async def _readmit(self) -> None:
        await readmit(self._state, self._fleet, self._trust)

    def _tell_new_keys(self, state: NodeState) -> None:
        """The answer goes out on a link by the old keys, so the mesh hears a little later. Should the agent
        die meanwhile, `readmit` tells it at the next start."""
        if read_own(state.certificate).node_id != self._identity.node_id:
            asyncio.get_running_loop().call_later(ANSWER_GRACE_S, self._fleet.admit, state)

    def _votes(self, node_id: NodeId) -> bool:
        voter = self._engine.voter
        return voter is not None and any(node_of(each) == node_id for each in voter.configuration.all_voters)

    def _is_member(self, node_id: NodeId) -> bool:
        return self._name_of(node_id) is not None

    def _named(self, node_id: NodeId) -> str:
        return self._name_of(node_id) or node_id

    def _name_of(self, node_id: NodeId) -> str | None:
        member = self._fleet.member(node_id)
        return None if member is None else member.record.name

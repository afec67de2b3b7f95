"""What an agent is beside a host: it holds rows where it votes, serves the API over them, and answers its
operator. A machine can be given servers before any of this is there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from fabric.agent_api import ApiSide
from fabric.agent_conductor import Work
from fabric.agent_database import DatabaseSide
from fabric.agent_local import LocalSide
from fabric.agent_node import NodeParts
from fabric.agent_operator import OperatorSide
from fabric.agent_roles import conducts, may_vote
from fabric.agent_voter import VoterSide, holds_rows, others_may_vote
from fabric.agent_voter_slot import LetGo, VoterSlot
from fabric.control.context import Cloud
from fabric.core.membership.model import RoleClaim
from fabric.runtime.admission_watch import DOOR_LABEL
from fabric.runtime.blob_sweep import BlobSweeper
from fabric.runtime.group_watch import GROUP_LABEL
from fabric.runtime.hard_state import HardState
from fabric.runtime.host_calls import RpcHostCalls
from fabric.runtime.invitation import InvitationService
from fabric.runtime.level_watch import HALTED_LABEL
from fabric.runtime.shared_table import SharedTable
from fabric.runtime.virtual_address import VirtualAddress
from fabric.runtime.voter_peers import VoterRoute
from fabric.runtime.voter_state import VoterState
from fabric.scheduler_policy import scheduler_policy
from netplug.contract import NetPlug


class ControlSide:
    def __init__(
        self,
        node: NodeParts,
        *,
        virtual: VirtualAddress | None,
        api_fd: int | None,
        plug: Callable[[], NetPlug | None],
        is_ready: Callable[[], bool],
    ) -> None:
        """Raises ConfigError (scheduler)."""
        self._node = node
        self._route = VoterRoute(
            node.switchboard, node.rpc, lambda node_id: may_vote(node.fleet, node.who.trust, node_id)
        )
        self._virtual = virtual
        self._api_fd = api_fd
        self._scheduler = scheduler_policy(node.config.scheduler)
        self._cloud: Cloud | None = None
        self._slot: VoterSlot | None = None
        self._local = LocalSide(
            node,
            OperatorSide(node, door=lambda: "" if self.voter is None else self.voter.door_endpoint),
            voter=lambda: self.voter,
            cloud=self._own_cloud,
            plug=plug,
            is_ready=is_ready,
        )

    @property
    def voter(self) -> VoterSide | None:
        """None: this node holds no rows, or not yet."""
        return None if self._slot is None else self._slot.voter

    async def hand_over(self) -> None:
        if self._slot is not None:
            await self._slot.hand_over()

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Raises IdentityError, LogCorruptError, ConfigError, OSError: this node cannot go on as it is."""
        node, who = self._node, self._node.who
        await self._local.open(stack)
        self._api = ApiSide(
            config=node.config,
            fd=self._api_fd,
            address=node.address,
            clock=node.clock,
            events=node.events,
            supervisor=node.supervisor,
            stack=stack,
            on_served=self._api_served,
        )
        slot = self._slot = VoterSlot(
            self._make_voter, config=node.config, who=who, supervisor=node.supervisor, stack=stack
        )
        stack.push_async_callback(slot.close)
        if node.config.state.is_shared:
            await self._start_database(stack, slot)
        elif holds_rows(
            node.config,
            is_founder=who.member.founder,
            others_vote=others_may_vote(node.fleet, who.trust),
            tell=lambda what, why: node.events.add(what, node.config.node_name, {"reason": why}),
        ):
            await slot.start()
        InvitationService(
            node.rpc,
            who.identity,
            node.clock,
            member=lambda: who.member,
            may_invite=lambda node_id: conducts(node.fleet, node_id),
            accept=slot.become,
            dismiss=slot.dismiss,
        )
        node.supervisor.supervise(stack, "blob sweeper", BlobSweeper(node.remote, node.blobs).run())

    def _make_voter(self, let_go: LetGo) -> VoterSide:
        node, who = self._node, self._node.who
        voter = VoterSide(
            config=node.config,
            identity=who.identity,
            member=lambda: who.member,
            adopt=who.adopt,
            trust=who.trust,
            fleet=node.fleet,
            rpc=node.rpc,
            route=self._route,
            clock=node.clock,
            events=node.events,
            address=node.address,
            claim=node.claims.set,
            on_door=lambda endpoint: node.label({DOOR_LABEL: endpoint, GROUP_LABEL: str(voter.incarnation)}),
            label=node.label,
            on_filled=self._start_api,
            on_failure=lambda error: node.supervisor.fail(f"the state stopped itself: {error}"),
            on_halted=lambda reason: node.label({HALTED_LABEL: reason}),
            on_let_go=let_go,
            duties=self._own_duties,
            scheduler=self._scheduler,
        )
        return voter

    def _own_duties(self) -> tuple[Work, ...]:
        return () if self._virtual is None else (("virtual address", self._virtual.hold()),)

    async def _start_database(self, stack: contextlib.AsyncExitStack, slot: VoterSlot) -> None:
        node, who = self._node, self._node.who
        database = DatabaseSide(
            node.config.state.url,
            node.config.state_dir,
            who.identity,
            node.rpc,
            node.clock,
            member=lambda: who.member,
            adopt=who.adopt,
            may_entrust=lambda node_id: conducts(node.fleet, node_id),
            may_conduct=node.config.voters.eligible,
            label=node.label,
            open_rows=slot.start,
        )
        await database.begin()
        node.supervisor.supervise(stack, "database", database.run())

    async def _start_api(self, state: HardState) -> None:
        node, config = self._node, self._node.config
        table = SharedTable(state, node.fleet, node.clock, is_told_first=isinstance(state, VoterState))
        table.listen()  # as long as the process lives
        cloud = self._cloud = Cloud(
            state=state,
            fleet=node.fleet,
            hosts=RpcHostCalls(node.rpc),
            blobs=node.blobs,
            clock=node.clock,
            build_deadline_ms=config.compute.build_deadline_s * 1000,
            action_deadline_ms=config.compute.action_deadline_s * 1000,
            move_deadline_ms=config.compute.move_deadline_s * 1000,
            default_zone=config.node.zone,
            region=config.api.region,
            image_bytes_max=config.api.image_bytes_max,
            token_ttl_ms=config.api.token_ttl_s * 1000,
            blob_source=node.fetcher,
            public_url=config.api.public_url or None,
            wait_applied=state.wait_applied if isinstance(state, VoterState) else None,
            catch_up=state.catch_up if isinstance(state, VoterState) else None,
            table=table,
            placement=self._scheduler,
        )
        await self._api.start(cloud, must=node.who.member.founder)

    def _api_served(self, claim: RoleClaim, url: str) -> None:
        self._node.claims.set(claim.role, claim)
        self._node.fleet.publish(api_urls=(url,))

    def _own_cloud(self) -> Cloud | None:
        """Over rows of this node's own; None where it has none, or none yet."""
        return self._cloud if self.voter is not None and self.voter.is_serving else None

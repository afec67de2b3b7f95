"""The place of this node's voter: filled at the start or by an invitation, empty when the group let it go.

There is one voter at a time. Invitations may come twice, and the conductor may give up on one that this node
goes on with: a voter that is half open is none.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from fabric.agent_engine import carry_over, load_engine
from fabric.agent_identity import IdentitySide
from fabric.agent_voter import VoterSide
from fabric.config import Config
from fabric.runtime.authority import Authority, save_authority
from fabric.runtime.invitation import NotInvitedError
from fabric.runtime.node_identity import Membership
from fabric.store.incarnation import write_incarnation
from fabric.store.life_swap import STATE
from fabric.supervisor import Supervisor
from proto.ids import VoterId

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0

LetGo = Callable[[VoterId], Awaitable[None]]


class VoterSlot:
    """`start` fills it; `close` before what the voter needs closes."""

    def __init__(
        self,
        make: Callable[[LetGo], VoterSide],
        *,
        config: Config,
        who: IdentitySide,
        supervisor: Supervisor,
        stack: contextlib.AsyncExitStack,
    ) -> None:
        """`make` is called with the directory prepared, and with what to call when the group lets the voter
        go; it may raise what VoterSide raises."""
        self._make = make
        self._config = config
        self._who = who
        self._supervisor = supervisor
        self._stack = stack
        self._opening = asyncio.Lock()
        self._openings: set[asyncio.Task[VoterId]] = set()
        self._voter: VoterSide | None = None

    @property
    def voter(self) -> VoterSide | None:
        return self._voter

    async def start(self) -> None:
        """Raises what making and opening a voter raise; the directory is free then."""
        await asyncio.to_thread(load_engine, self._config)
        await asyncio.to_thread(carry_over, self._config, self._who.identity)
        voter = self._make(self.end)
        self._stack.push_async_callback(voter.close)
        try:
            await voter.open()
        except BaseException:
            await voter.close()  # the next invitation finds its directory free
            raise
        self._voter = voter
        for name, work in voter.work():
            self._supervisor.supervise(self._stack, name, work)

    async def become(self, member: Membership, root_key: bytes, incarnation: int) -> VoterId:
        """The conductor chose this node. Goes on where the conductor gives up meanwhile. Raises
        NotInvitedError, and what opening raises."""
        work = self._open(member, root_key, incarnation)
        opening = asyncio.create_task(work, name="voter opens")
        self._openings.add(opening)
        opening.add_done_callback(self._opened)
        return await asyncio.shield(opening)

    async def dismiss(self, voter_id: VoterId) -> None:
        """Whoever says so conducts, or says that it does: a voter that its leader still counts stays. Raises
        NotInvitedError."""
        voter = self._voter
        if voter is not None and voter.voter_id == voter_id and voter.is_wanted:
            raise NotInvitedError("this voter follows a leader that counts it as one")
        await self.end(voter_id)

    async def end(self, voter_id: VoterId) -> None:
        """The group knows that voter no more: its files are set aside, and this agent begins anew. Raises
        NotInvitedError: this node is stopping."""
        async with self._opening:
            if self._voter is None or self._voter.voter_id != voter_id:
                return  # it ended before
            if self._who.begins_anew:
                return  # it ends already
            self._need_to_run()
            self._who.begin_anew_without()

    async def hand_over(self) -> None:
        """Whoever stops on purpose and leads lets another lead first: nobody waits for an election."""
        if self._voter is not None:
            await self._voter.hand_over()

    async def close(self) -> None:
        """No voter opens any more; one that is open closes by itself (`stack`)."""
        if self._openings:
            openings = tuple(self._openings)
            await asyncio.wait(openings, timeout=STOP_TIMEOUT_S)
            for opening in openings:
                opening.cancel()

    def _opened(self, opening: asyncio.Task[VoterId]) -> None:
        self._openings.discard(opening)
        if not opening.cancelled() and opening.exception() is not None:
            log.error("not become a voter", extra={"reason": str(opening.exception())})

    async def _open(self, member: Membership, root_key: bytes, incarnation: int) -> VoterId:
        if self._config.state.is_shared:
            raise NotInvitedError("this node's rows live in a database that knows no voters")
        async with self._opening:
            self._need_to_run()
            if self._voter is not None:
                self._need_same_group(self._voter, incarnation)
            else:
                write_incarnation(self._config.state_dir / STATE, incarnation)
                save_authority(self._config.state_dir, Authority.of(root_key, member.fabric_id))
                self._who.adopt(member)
                await self.start()
        assert self._voter is not None
        assert self._voter.voter_id is not None
        return self._voter.voter_id

    def _need_same_group(self, voter: VoterSide, incarnation: int) -> None:
        """Raises NotInvitedError: the voter here is of another life of the group. If it is of an earlier one,
        it ends, and this node can be asked again in a moment."""
        if voter.voter_id is None or incarnation == voter.incarnation:
            return
        if incarnation > voter.incarnation:
            self._who.begin_anew_without()
        raise NotInvitedError(
            f"the voter of this node is of incarnation {voter.incarnation} of the group, not {incarnation}"
        )

    def _need_to_run(self) -> None:
        if self._supervisor.stop.is_set():
            raise NotInvitedError("this node is stopping")

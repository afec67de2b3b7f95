"""Who waits for what of one voter: commands for their fold, reads for their index, anybody for a point of the
log. Settles futures and knows nothing of the core, the disk or the mesh. One event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain

from fabric.core.queries import Applied
from fabric.errors import NotLeaderError
from fabric.store.errors import StoreFailedError, StoreStoppedError
from fabric.store.settle import settle
from proto.commands import Command
from proto.ids import LogIndex, Term, VoterId


@dataclass(slots=True, eq=False)
class Proposal:
    command: Command
    data: bytes
    future: asyncio.Future[Applied]


class Waiting:
    def __init__(self) -> None:
        # several at one index: what a lost lead left there, whose end is not known yet, and what came after
        self._proposals: dict[LogIndex, list[tuple[Term, Proposal]]] = {}
        self._reads: dict[object, asyncio.Future[LogIndex]] = {}
        self._applied: list[tuple[LogIndex, asyncio.Future[None]]] = []

    @property
    def entries(self) -> int:
        """Places in the log that somebody waits for."""
        return len(self._proposals)

    @property
    def commands(self) -> int:
        return sum(map(len, self._proposals.values()))

    @property
    def for_rows(self) -> int:
        """Who waits until the rows hold an entry."""
        return len(self._applied)

    def hold(self, index: LogIndex, term: Term, proposal: Proposal) -> None:
        """It is in the log there, and its end is not known."""
        self._proposals.setdefault(index, []).append((term, proposal))

    def refuse(self, key: object, leader: VoterId | None) -> None:
        """A proposal or a read that only the leader can take."""
        if isinstance(key, Proposal):
            settle(key.future, not_leader(leader))
        elif key in self._reads:
            settle(self._reads.pop(key), not_leader(leader))

    def folded(self, index: LogIndex, term: Term, leader: VoterId | None) -> Proposal | None:
        """Whose entry that was. What waited there for an entry of another term was not done."""
        whose: Proposal | None = None
        for its_term, proposal in self._proposals.pop(index, ()):
            if its_term == term:
                whose = proposal
            else:
                settle(proposal.future, not_leader(leader))
        return whose

    def pass_over(self, index: LogIndex) -> None:
        """A snapshot brought the rows up to `index`: what became of commands before it only they know."""
        for at in [at for at in self._proposals if at <= index]:
            for _, proposal in self._proposals.pop(at):
                settle(
                    proposal.future,
                    StoreFailedError("this voter fell behind; the command may have been done"),
                )

    async def read(self, ask: Callable[[object], None]) -> LogIndex:
        """What `answer` brings for the key that `ask` is called with. Raises NotLeaderError,
        StoreStoppedError."""
        future: asyncio.Future[LogIndex] = asyncio.get_running_loop().create_future()
        key = object()
        self._reads[key] = future
        ask(key)
        try:
            return await future
        finally:
            self._reads.pop(key, None)  # nobody waits any more

    def answer(self, key: object, index: LogIndex) -> None:
        if key in self._reads:
            settle(self._reads.pop(key), index)

    async def until(self, index: LogIndex) -> None:
        """Until `applied` tells of that entry. Raises StoreStoppedError."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        one = (index, future)
        self._applied.append(one)
        try:
            await future
        except asyncio.CancelledError:  # nobody waits any more: an index may never come
            if one in self._applied:
                self._applied.remove(one)
            raise

    def applied(self, upto: LogIndex) -> None:
        for index, future in self._applied:
            if index <= upto:
                settle(future, None)
        self._applied = [one for one in self._applied if one[0] > upto]

    def stop(self, error: BaseException) -> None:
        """Nothing more is known: what is in the log may have been done, what asks was not answered."""
        for read in self._reads.values():
            settle(read, StoreStoppedError(f"the store stopped: {error}"))
        self._reads = {}
        self.halt(error)

    def halt(self, error: BaseException) -> None:
        """The rows take no more entries; whoever leads then answers reads that ask for an index."""
        held = "the store stopped while it held this command; it may have been done"
        for _, proposal in chain.from_iterable(self._proposals.values()):
            settle(proposal.future, StoreFailedError(held))
        for _, applied in self._applied:
            settle(applied, StoreStoppedError(f"the store stopped: {error}"))
        self._proposals, self._applied = {}, []


def not_leader(leader: VoterId | None) -> NotLeaderError:
    return NotLeaderError("no voter leads at the moment" if leader is None else f"voter {leader} leads")

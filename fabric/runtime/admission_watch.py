"""Notices when no member lets this node's key in, says so, and asks whether it was removed.

A node removed while it was stopped hears of it from nobody: whoever could tell refuses its connections. The
join door takes any key, so it is asked there. Only what the root has signed ends the agent; that others do
not let it in may also be news that has not reached them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from fabric.core.membership.model import Member, MemberState
from fabric.mesh.contract import LinkFact
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.handshake import handshake
from fabric.mesh.probe import probe
from fabric.runtime.clock import Clock
from fabric.runtime.door_knock import knock
from fabric.runtime.events import EventLog
from fabric.runtime.mesh_view import MeshView
from proto.errors import WireError
from proto.join import StandingReply, StandingRequest, decode_reply, encode_request
from proto.membership import Removal

log = logging.getLogger(__name__)

DOOR_LABEL = "door"  # in the record of a node that has one: its endpoint
LOOK_INTERVAL_S = 5.0
LOOK_AGAIN_S = 60.0  # once it was told
ALONE_MS = 30_000  # before it is told: news of an admission travels within seconds
PEERS_TRIED_MAX = 8
DOORS_ASKED_MAX = 4


class AdmissionWatch:
    """`note` is what to tell the operator, "" while all is well. `remove` is given the root's word."""

    def __init__(
        self,
        view: MeshView,
        keys: CurveKeyPair,
        events: EventLog,
        clock: Clock,
        *,
        name: str,
        remove: Callable[[Removal], None],
    ) -> None:
        self._view = view
        self._keys = keys
        self._events = events
        self._clock = clock
        self._name = name
        self._remove = remove
        self._alone_since_ms: int | None = None
        self.note = ""

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_AGAIN_S if self.note else LOOK_INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        others = self._others()
        if not others or any(link.is_up for link in self._view.links()):
            self._alone_since_ms, self.note = None, ""
            return
        if self._alone_since_ms is None:
            self._alone_since_ms = self._clock.monotonic_ms()
        refusing = await self._refusing(others)
        if refusing == 0:
            self.note = ""
            return
        for member in others[:DOORS_ASKED_MAX]:
            await self._ask_door(member)
        if self._clock.monotonic_ms() - self._alone_since_ms >= ALONE_MS:
            self._tell(refusing)

    def _others(self) -> list[Member]:
        """Whoever has a door first, then the living."""
        found = [
            member
            for member in self._view.members()
            if member.record.node_id != self._view.me
            and member.record.epoch > 0
            and member.state not in (MemberState.LEFT, MemberState.FORGOTTEN)
        ]
        return sorted(found, key=lambda m: (DOOR_LABEL not in m.record.labels, m.record.name))

    async def _refusing(self, others: list[Member]) -> int:
        """How many answer TCP and refuse our key; 0 when one of them takes it."""
        tried = await asyncio.gather(*(self._try(member) for member in others[:PEERS_TRIED_MAX]))
        return 0 if True in tried else tried.count(False)

    async def _try(self, member: Member) -> bool | None:
        """None: nobody there said anything."""
        record = member.record
        if await probe(record.endpoint) is not LinkFact.UP:
            return None
        return await handshake(record.endpoint, self._keys, record.curve_public)

    async def _ask_door(self, member: Member) -> None:
        endpoint = member.record.labels.get(DOOR_LABEL, "")
        if not endpoint:
            return
        request = encode_request(StandingRequest(node_id=self._view.me))
        frame = await knock(endpoint, self._keys, member.record.curve_public, request)
        if not isinstance(frame, bytes):
            log.info("door gave no answer", extra={"node": member.record.name, "reason": frame.value})
            return
        try:
            reply = decode_reply(frame)
        except WireError as error:
            log.warning("door not understood", extra={"node": member.record.name, "reason": error.reason})
            return
        if isinstance(reply, StandingReply):
            for removal in reply.removals:
                self._remove(removal)  # which looks at the signature, and whom it names

    def _tell(self, refusing: int) -> None:
        if self.note:
            return
        self.note = (
            f"{refusing} members answer and none admits this node's key: it was removed, or its admission "
            "has not reached them"
        )
        self._events.add("node.not_admitted", self._name, {"reason": self.note})

"""The API's virtual address: it is wherever the conductor is.

Whoever leads puts the address on its interface, tells the neighbours, looks each second whether it is still
there, and takes it off when it leads no more or stops. A node that does not lead takes off what it finds
of ours: an earlier life of this agent, killed, may have left it.

Nothing here makes two holders impossible, as in every scheme without fencing. After a `kill -9` of the
holder its kernel goes on answering for the address until that agent starts again; a holder that is cut off
keeps it until its lead ends, an election timeout later. That is safe: every API node takes any request, reads
from its own rows and forwards writes to whoever leads, so a client that reaches the wrong holder is served as
by any other node, or gets no answer. Which of two holders a neighbour believes is whoever spoke last: so it
is announced again for as long as it is held.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from fabric.runtime.events import EventLog
from proto.errors import NetPlugError

log = logging.getLogger(__name__)

VIP_LABEL = "vip"  # in the holder's record
LOOK_S = 1.0
FIRST_ANNOUNCEMENTS = 3  # one a look: a neighbour may miss one, or be slow to bring up its wire
ANNOUNCE_EACH_LOOKS = 30


class AddressPlug(Protocol):
    """What this asks of `netplug.contract.AddressPlug`, which says what each promises."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def ensure(self) -> bool: ...
    async def remove(self) -> bool: ...
    async def announce(self) -> None: ...


class VirtualAddress:
    """`open` before anything else of the agent, `keep_away` for as long as it runs, `hold` while it leads,
    `close`. A host that cannot do it is told of in an event and the log; the agent goes on without."""

    def __init__(
        self,
        plug: AddressPlug,
        events: EventLog,
        *,
        address: str,
        node: str,
        another_conducts: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        """`tell` the mesh that this node has the address; with "" that it has it no more."""
        self._plug = plug
        self._events = events
        self._address = address
        self._node = node
        self._another_conducts = another_conducts
        self._tell = tell
        self._is_leading = False
        self._is_held = False
        self._looks = 0  # since it was last put there
        self._told = ""  # the failure everybody knows of

    async def open(self) -> None:
        await self._plug.open()
        await self._take_off()

    async def close(self) -> None:
        """Also where `hold` was cancelled so hard that it could not end well."""
        await self._take_off()
        await self._plug.close()

    async def hold(self) -> None:
        """A duty of who leads. Until cancelled; the address is gone when this ends."""
        self._is_leading = True
        self._looks = 0
        try:
            while True:
                await self.look()
                await asyncio.sleep(LOOK_S)
        finally:
            self._is_leading = False
            await self._take_off()

    async def keep_away(self) -> None:
        """Until cancelled."""
        while True:
            if not self._is_leading:
                await self._take_off()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Once: it is there, and is announced when that is due. A holder that hears of another conductor has
        lost its lead and is only the last to learn of it."""
        if self._another_conducts():
            await self._take_off()
            return
        try:
            if await self._plug.ensure():
                self._looks = 0
            if not self._is_held:
                self._is_held = True
                log.info("virtual address taken", extra={"node": self._node, "address": self._address})
                self._events.add("api.virtual_address_taken", self._node, {"address": self._address})
                self._tell(self._address)
            self._looks += 1
            if self._looks <= FIRST_ANNOUNCEMENTS or self._looks % ANNOUNCE_EACH_LOOKS == 0:
                await self._plug.announce()
            self._told = ""
        except NetPlugError as error:
            self._failed(error)

    async def _take_off(self) -> None:
        if self._is_held:
            self._is_held = False
            self._tell("")
        try:
            if await self._plug.remove():
                log.info("virtual address given up", extra={"node": self._node, "address": self._address})
        except NetPlugError as error:
            self._failed(error)

    def _failed(self, error: NetPlugError) -> None:
        reason = str(error)
        if reason == self._told:
            return
        self._told = reason
        log.error("virtual address failed", extra={"node": self._node, "reason": reason})
        fields = {"address": self._address, "reason": reason}
        self._events.add("api.virtual_address_failed", self._node, fields)

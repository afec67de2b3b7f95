"""How a node with a shared database comes to serve its rows: it reaches them, is trusted, and opens them.

A founder is trusted from the beginning. A database that is away keeps no agent from carrying its guests: it
is asked for until it is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from fabric.core.identity.queries import GetFabric
from fabric.errors import FabricError, NoQuorumError
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.authority import ROOT_FILE, Authority, save_authority
from fabric.runtime.clock import Clock
from fabric.runtime.entrusting import EntrustedService
from fabric.runtime.entrusting_loop import OPEN, REACHED, ROWS_LABEL
from fabric.runtime.founding import first_entry
from fabric.runtime.node_identity import Membership, NodeIdentity
from proto.ids import NodeId

if TYPE_CHECKING:
    from fabric.store.postgres import PostgresState

log = logging.getLogger(__name__)

RETRY_S = 2.0
LOOK_S = 30.0  # at a database that was reached, and whose conductor trusts this node not yet


class DatabaseSide:
    """`begin`, then `run` beside the rest of the agent."""

    def __init__(
        self,
        url: str,
        directory: Path,
        identity: NodeIdentity,
        rpc: Rpc,
        clock: Clock,
        *,
        member: Callable[[], Membership],
        adopt: Callable[[Membership], None],
        may_entrust: Callable[[NodeId], bool],
        may_conduct: bool,
        label: Callable[[dict[str, str]], None],
        open_rows: Callable[[], Awaitable[object]],
    ) -> None:
        """`may_conduct`: its operator's word. `label` this node's record; `open_rows` serves them here."""
        self._url = url
        self._directory = directory
        self._identity = identity
        self._rpc = rpc
        self._clock = clock
        self._member = member
        self._adopt = adopt
        self._may_entrust = may_entrust
        self._may_conduct = may_conduct
        self._label = label
        self._open_rows = open_rows
        self._is_open = False
        self._entrusted = asyncio.Event()

    async def begin(self) -> None:
        """Opens the rows where this node is trusted and they can be had. Raises what opening raises; only for
        a fabric that is about to be founded StoreStoppedError."""
        if not self._is_trusted():
            return
        try:
            await self._open()
        except NoQuorumError as error:
            if self._member().founder and first_entry(self._directory) is not None:
                raise
            log.warning("rows not open yet", extra={"reason": str(error), "retry_s": RETRY_S})

    async def run(self) -> None:
        """Until cancelled. Raises what opening raises: another fabric's database, say."""
        while not self._is_open:
            if self._is_trusted():
                with suppress(NoQuorumError):
                    await self._open()
                    break
            elif self._may_conduct:
                await self._wait_for_trust()
                continue
            await asyncio.sleep(RETRY_S)
        await asyncio.Event().wait()

    def _is_trusted(self) -> bool:
        return (self._directory / ROOT_FILE).exists()

    async def _open(self) -> None:
        await (await self._reach()).close()  # before anything is built that would have to be taken down
        await self._open_rows()
        self._is_open = True
        self._label({ROWS_LABEL: OPEN})

    async def _reach(self) -> PostgresState:
        """Raises StoreStoppedError, ConfigError."""
        database = await asyncio.to_thread(_database_for, self._url)
        await database.open()
        return database

    async def _wait_for_trust(self) -> None:
        """Returns when this node is trusted, or when it has to reach the database again."""
        try:
            database = await self._reach()
        except FabricError as error:  # whatever is wrong with it, this node carries its guests
            log.warning("database not reached", extra={"reason": str(error), "retry_s": RETRY_S})
            await asyncio.sleep(RETRY_S)
            return
        service = EntrustedService(
            database,
            self._rpc,
            self._identity,
            self._clock,
            member=self._member,
            may_entrust=self._may_entrust,
            accept=self._accept,
        )
        try:
            while not self._entrusted.is_set():
                is_ours = await self._is_ours(database)
                self._label({ROWS_LABEL: REACHED if is_ours else ""})
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_S if is_ours else RETRY_S):
                        await self._entrusted.wait()
        finally:
            service.close()
            await database.close()

    async def _is_ours(self, database: PostgresState) -> bool:
        try:
            rows = await database.read(GetFabric())
        except FabricError:
            return False
        if rows is not None and rows.fabric_id != self._member().fabric_id:
            log.error("state.url: that database holds another fabric", extra={"fabric": rows.fabric_id})
        return rows is not None and rows.fabric_id == self._member().fabric_id

    async def _accept(self, member: Membership, root_key: bytes) -> None:
        save_authority(self._directory, Authority.of(root_key, member.fabric_id))
        self._adopt(member)
        self._label({ROWS_LABEL: ""})
        self._entrusted.set()


def _database_for(url: str) -> PostgresState:
    # In a thread and only here: it takes a second, and hosts do without SQLAlchemy.
    from fabric.store.engine import database_for

    return database_for(url)

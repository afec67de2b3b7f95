"""How a node comes to serve the rows of a shared database: when it is there, and when it is trusted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabric import agent_database
from fabric.agent_database import DatabaseSide
from fabric.errors import ConfigError
from fabric.runtime.authority import ROOT_FILE
from fabric.runtime.entrusting import Entruster
from fabric.runtime.entrusting_loop import OPEN, REACHED, ROWS_LABEL
from fabric.runtime.founding import FIRST_ENTRY_FILE
from fabric.runtime.invitation import Inviter
from fabric.runtime.node_identity import Membership
from fabric.store.errors import SchemaVersionError, StoreStoppedError
from proto.commands import encode_command
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import fabric_init
from tests.unit.runtime.node_keys_world import CONDUCTOR, KeysWorld, OneWayRpc


class ManyRpc(OneWayRpc):
    def unserve(self, method: str) -> None:
        del self.handlers[method]


class World:
    """A member with a database, which is the conductor's rows seen through a connection that may fail."""

    def __init__(self, keys: KeysWorld) -> None:
        self.keys = keys
        self.rpc = ManyRpc(CONDUCTOR)
        self.labels: dict[str, str] = {}
        self.opened = 0
        self.fails: Exception | None = None
        self.fails_to_open: Exception | None = None
        self.reached = 0
        self.may_conduct = True

    def side(self) -> DatabaseSide:
        return DatabaseSide(
            "postgresql+psycopg://nowhere",
            self.keys.directory,
            self.keys.identity,
            self.rpc,
            self.keys.clock,
            member=lambda: self.keys.member,
            adopt=self._adopt,
            may_entrust=lambda node_id: node_id == CONDUCTOR,
            may_conduct=self.may_conduct,
            label=self.labels.update,
            open_rows=self._open_rows,
        )

    def _adopt(self, member: Membership) -> None:
        self.keys.member = member

    async def _open_rows(self) -> None:
        if self.fails_to_open is not None:
            raise self.fails_to_open
        self.opened += 1

    # the database, as DatabaseSide asks for it

    def __call__(self, url: str) -> World:
        return self

    async def open(self) -> None:
        self.reached += 1
        if self.fails is not None:
            raise self.fails

    async def close(self) -> None:
        pass

    async def read(self, query: Any) -> Any:
        return await self.keys.state.read(query)

    def trust(self) -> None:
        (self.keys.directory / ROOT_FILE).write_bytes(self.keys.authority.private_bytes())

    async def entrust(self) -> None:
        inviter = Inviter(self.keys.state, self.keys.authority, self.rpc, self.keys.clock, incarnation=0)
        entruster = Entruster(self.keys.state, self.keys.authority, self.rpc, certify=inviter.certify)
        await entruster.entrust(self.keys.node_id)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    keys = KeysWorld(tmp_path)
    await keys.open()
    made = World(keys)
    monkeypatch.setattr(agent_database, "_database_for", made)
    monkeypatch.setattr(agent_database, "RETRY_S", 0.005)
    yield made
    await keys.close()


@contextlib.asynccontextmanager
async def running(side: DatabaseSide) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(side.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait((task,))


async def test_who_is_trusted_opens_the_rows_at_once(world: World) -> None:
    world.trust()
    side = world.side()
    await side.begin()
    async with running(side):
        assert (world.opened, world.labels) == (1, {ROWS_LABEL: OPEN})


async def test_who_is_not_waits_proves_itself_and_opens_them(world: World) -> None:
    side = world.side()
    await side.begin()
    assert world.reached == 0
    async with running(side):
        await until(lambda: world.labels.get(ROWS_LABEL) == REACHED)
        assert world.opened == 0
        await world.entrust()
        await until(lambda: world.labels.get(ROWS_LABEL) == OPEN)
        assert world.opened == 1
        assert (world.keys.directory / ROOT_FILE).exists()
        assert world.rpc.handlers == {}, "it is asked no more"


async def test_whom_its_operator_keeps_out_never_asks(world: World) -> None:
    world.may_conduct = False
    async with running(world.side()):
        await asyncio.sleep(0.03)
        assert (world.reached, world.labels) == (0, {})


async def test_a_database_that_is_away_is_waited_for(world: World) -> None:
    world.trust()
    world.fails = StoreStoppedError("away")
    side = world.side()
    await side.begin()  # the agent starts, and carries its guests
    async with running(side):
        await until(lambda: world.reached > 3)
        assert (world.opened, world.labels) == (0, {})
        world.fails = None
        await until(lambda: world.opened == 1)


async def test_one_that_goes_as_the_rows_are_opened_is_waited_for_too(world: World) -> None:
    world.trust()
    world.fails_to_open = StoreStoppedError("away again")
    async with running(world.side()):
        await until(lambda: world.reached > 3)
        world.fails_to_open = None
        await until(lambda: world.opened == 1)


async def test_a_fabric_is_not_founded_in_a_database_that_is_away(world: World) -> None:
    world.trust()
    world.keys.member = replace(world.keys.member, founder=True)
    (world.keys.directory / FIRST_ENTRY_FILE).write_bytes(encode_command(fabric_init()))
    world.fails = StoreStoppedError("away")
    with pytest.raises(StoreStoppedError):
        await world.side().begin()


@pytest.mark.parametrize("error", [ConfigError("another fabric's"), SchemaVersionError("newer")])
async def test_what_is_wrong_for_good_is_said_where_the_node_is_trusted(
    world: World, error: Exception
) -> None:
    world.trust()
    world.fails_to_open = error
    with pytest.raises(type(error)):
        await world.side().begin()


async def test_what_is_wrong_with_it_keeps_no_host_from_its_guests(world: World) -> None:
    world.fails = SchemaVersionError("newer")
    async with running(world.side()) as task:
        await until(lambda: world.reached > 2)
        assert not task.done()

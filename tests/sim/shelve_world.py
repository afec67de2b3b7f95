"""The control path at level 3: users who shelve servers and bring them back while hosts and conductor die."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from sqlalchemy import select

from fabric.core.servers.model import ServerView
from fabric.core.servers.states import VmState
from fabric.store import tables as t
from fabric.store.tables import level3
from proto.commands.shelving import ServerShelve, ServerUnshelve
from proto.ids import ImageId, NodeId, RequestId, ServerId
from tests.fixtures import store_world as rows
from tests.sim.control_nodes import Host
from tests.sim.control_world import DEADLINE_MS, VERBS, drawn_uuid
from tests.sim.moves_world import MovesWorld

WISHES = 18  # of each user


class ShelveWorld(MovesWorld):
    """A guest counts pages that its user writes, and must find the last one whenever it runs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.pages: dict[ServerId, int] = {}
        peers = {host.node_id: host for host in self.hosts}
        for host in self.hosts:
            host.peers = peers

    async def _user(self, rng: Random) -> None:
        for number in range(WISHES):
            await asyncio.sleep(rng.uniform(0.0, 4.0))
            known = self._accepted()
            draw = rng.random()
            if not known or draw < 0.2:
                await self._create(rng)
            elif draw < 0.4:
                await self._act(rng, rng.choice(known), rng.choice(VERBS), number)
            elif draw < 0.7:
                at_rest = await self._in_state(VmState.ACTIVE, VmState.STOPPED)
                await self._shelve(rng, rng.choice(at_rest or known), number)
            else:
                shelved = await self._in_state(VmState.SHELVED_OFFLOADED)
                await self._unshelve(rng, rng.choice(shelved or known), number)

    async def _in_state(self, *states: VmState) -> list[ServerId]:
        views = [view.server for view in await self._views_if_any()]
        return [each.server_id for each in views if each.vm_state in states and each.task_state is None]

    async def _shelve(self, rng: Random, server_id: ServerId, number: int) -> None:
        if rng.random() < 0.2:
            rng.choice(self.hosts).faults.failures["export_root"] += 1
        request_id = RequestId(f"shelve-{self._named(server_id)}-{number}-{rng.randrange(1 << 30)}")
        command = ServerShelve(
            server_id=server_id,
            image_id=ImageId(drawn_uuid(rng)),
            user_id=rows.USER,
            request_id=request_id,
            deadline_ms=self.conductor.clock.wall_ms() + DEADLINE_MS,
        )
        await self._ask_and_tell("shelve", command, request_id)

    async def _unshelve(self, rng: Random, server_id: ServerId, number: int) -> None:
        request_id = RequestId(f"unshelve-{self._named(server_id)}-{number}-{rng.randrange(1 << 30)}")
        command = ServerUnshelve(
            server_id=server_id,
            request_id=request_id,
            host_name=rng.choice([None, None, rng.choice(self.hosts).name]),
            deadline_ms=self.conductor.clock.wall_ms() + DEADLINE_MS,
        )
        await self._ask_and_tell("unshelve", command, request_id)

    async def _ask_and_tell(self, verb: str, command: Any, request_id: RequestId) -> None:
        wish = await self.do(command, request_id)
        self.asked[f"{verb} {'done' if wish.is_accepted else wish.rejected}"] += 1
        self.tell(f"{verb} {self._named(command.server_id)}: {wish.rejected or wish.index}")

    async def _until_quiet(self) -> None:
        """And once more when all that lies on the shelf was taken down from it."""
        await super()._until_quiet()
        for number, server_id in enumerate(await self._in_state(VmState.SHELVED_OFFLOADED)):
            await self._unshelve(self._users_rng, server_id, 1_000 + number)
        await super()._until_quiet()

    async def views(self) -> list[ServerView]:
        """With one that is an image, as its host sees it: it never ran there."""
        views = await super().views()
        shelf = [] if self.conductor.state is None else self.shelf()  # it crashed meanwhile
        saved = {row.server_id for row in shelf if row.is_saved}
        return [
            replace(view, server=replace(view.server, launched_ms=None))
            if view.server.server_id in saved
            else view
            for view in views
        ]

    def shelf(self) -> list[Any]:
        return self._rows(select(level3.shelved_servers))

    def images(self) -> dict[ImageId, NodeId]:
        """Who holds each, but for the one that all servers were made from."""
        found = self._rows(select(t.images.c.image_id, t.images.c.node_id))
        return {row.image_id: row.node_id for row in found if row.image_id != rows.IMAGE}

    def _rows(self, statement: Any) -> list[Any]:
        state = self.conductor.state
        assert state is not None
        with state._rows.engine.connect() as connection, connection.begin():
            return list(connection.execute(statement))

    def _write(self, host: Host, server_id: ServerId) -> None:
        """What its user does on it, while it is active."""
        if self.conductor.state is None:
            return
        active = (t.servers.c.vm_state == VmState.ACTIVE.value, t.servers.c.host_id == host.node_id)
        if not self._rows(select(t.servers.c.server_id).where(t.servers.c.server_id == server_id, *active)):
            return
        disk = host.directory / "sim" / server_id / "root.disk"
        held, page = json.loads(disk.read_text()), self.pages.get(server_id, 0)
        assert page_on(disk) == page, f"{self._named(server_id)} on {host.name} lost what was written"
        self.pages[server_id] = page + 1
        disk.write_text(json.dumps({**held, "page": page + 1}))


def page_on(disk: Path) -> int:
    """The last that is on a simulated disk, or on what it is built on."""
    try:
        held = json.loads(disk.read_text())
    except ValueError:
        return 0  # the image that all servers were made from
    return int(held["page"]) if "page" in held else page_on(Path(held["backing"])) if "backing" in held else 0


async def the_shelf_is_in_order(world: ShelveWorld) -> None:
    """What is on it has its image, and no host; nothing else is on it but what failed half-way."""
    servers = {view.server.server_id: view for view in await world.views()}
    shelf = {row.server_id: row for row in world.shelf()}
    images = world.images()
    assert {row.image_id for row in shelf.values()} == images.keys()
    for server_id, view in servers.items():
        if view.server.vm_state is VmState.SHELVED_OFFLOADED:
            assert shelf[server_id].is_saved, view
            assert {port.host_id for port in view.ports} == {None}, view
        elif server_id in shelf:
            assert view.server.vm_state is VmState.ERROR, view
    assert shelf.keys() <= servers.keys()
    holders = {host.node_id: host for host in world.hosts}
    sizes = {row.image_id: row.sha256 for row in world._rows(select(t.images.c.image_id, t.images.c.sha256))}
    for image_id, node_id in images.items():
        sha256 = sizes[image_id]
        assert (holders[node_id].directory / "kept" / sha256[:2] / sha256).exists(), image_id


async def pages_are_on_the_shelf(world: ShelveWorld) -> None:
    """What was written is in the image."""
    holders = {host.node_id: host for host in world.hosts}
    columns = (t.images.c.image_id, t.images.c.sha256, t.images.c.node_id)
    images = {row.image_id: row for row in world._rows(select(*columns))}
    for row in world.shelf():
        image = images[row.image_id]
        kept = holders[image.node_id].directory / "kept" / image.sha256[:2] / image.sha256
        assert page_on(kept) == world.pages.get(row.server_id, 0), row.server_id


async def nothing_half_copied_is_left(world: ShelveWorld) -> None:
    for host in world.hosts:
        assert not list((host.directory / "host" / "saved").glob("*")), host.name
        assert not list((host.directory / "kept" / "incoming").glob("*")), host.name

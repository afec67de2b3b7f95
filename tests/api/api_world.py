"""Image and Network over real sockets, on the real state engine: one node, two projects, no host."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from aiohttp import ClientResponse, ClientSession, ClientTimeout

from fabric.api.image import routes as image_routes
from fabric.api.network import routes as network_routes
from fabric.api.server import ApiServer, build_root
from fabric.control import tokens
from fabric.control.context import Cloud
from fabric.core.identity.queries import GetUser
from fabric.core.membership.model import Member
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.clock import SystemClock
from fabric.runtime.hard_state import HardState
from proto.commands.identity import AssignmentGrant, FabricInit, ProjectCreate, UserCreate
from proto.ids import (
    DomainId,
    FabricId,
    NodeId,
    ProjectId,
    RoleId,
    ServerId,
    UserId,
    new_hex_id,
    new_request_id,
)
from tests.api.state_engine import open_state

NODE = NodeId("0f" * 16)


class LoneFleet:
    """A fabric of one node."""

    me = NODE

    def members(self) -> tuple[Member, ...]:
        return ()

    def member(self, node_id: NodeId) -> Member | None:
        return None

    def is_alive(self, node_id: NodeId) -> bool:
        return node_id == NODE

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        return lambda: None


class NoHosts:
    async def console_log(self, host_id: NodeId, server_id: ServerId, *, lines: int | None) -> str:
        raise AssertionError("nothing here asks a host")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Person:
    """A client with one token."""

    def __init__(self, session: ClientSession, url: str, token: str, project_id: ProjectId) -> None:
        self.session, self.url, self.project_id = session, url, project_id
        self.headers = {"X-Auth-Token": token}

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {**self.headers, **(headers or {})}
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        async with self.session.request(method, self.url + path, data=data, headers=sent) as response:
            return await self._answer(response)

    async def _answer(self, response: ClientResponse) -> Answer:
        return Answer(
            response.status, {k.lower(): v for k, v in response.headers.items()}, await response.read()
        )

    async def get(self, path: str, **how: Any) -> Answer:
        return await self.ask("GET", path, **how)

    async def post(self, path: str, body: Any, **how: Any) -> Answer:
        return await self.ask("POST", path, body, **how)

    async def put(self, path: str, body: Any = None, **how: Any) -> Answer:
        return await self.ask("PUT", path, body, **how)

    async def delete(self, path: str) -> Answer:
        return await self.ask("DELETE", path)


@dataclass(frozen=True)
class World:
    cloud: Cloud
    url: str
    admin: Person
    alice: Person  # member of project one
    bob: Person  # member of project two
    reader: Person  # reader of project one
    blobs: Path


@asynccontextmanager
async def open_world(directory: Path, **settings: Any) -> AsyncIterator[World]:
    blobs = directory / "blobs"
    async with open_state(directory) as state:
        cloud = Cloud(
            state=state, fleet=LoneFleet(), hosts=NoHosts(), blobs=FileBlobStore(blobs), clock=SystemClock()
        )
        cloud = replace(cloud, **settings)
        apps = {"/image": image_routes.app(), "/network": network_routes.app()}
        server = await ApiServer.listen(build_root(cloud, apps=apps), host="127.0.0.1", port=0)
        url = f"http://127.0.0.1:{server.port}"
        try:
            async with ClientSession(timeout=ClientTimeout(total=60)) as session:
                people = await _people(cloud, session, url)
                yield World(cloud=cloud, url=url, blobs=blobs, **people)
        finally:
            await server.close()


async def _people(cloud: Cloud, session: ClientSession, url: str) -> dict[str, Person]:
    domain, roles = DomainId("default"), {name: RoleId(new_hex_id()) for name in _ROLES}
    admin_user, admin_project = UserId(new_hex_id()), ProjectId(new_hex_id())
    await _do(
        cloud.state,
        FabricInit(
            fabric_id=FabricId(new_hex_id()),
            node_id=NODE,
            root_public=b"r" * 32,
            domain_id=domain,
            admin_project_id=admin_project,
            service_project_id=ProjectId(new_hex_id()),
            admin_user_id=admin_user,
            admin_password_hash="unused",
            admin_role_id=roles["admin"],
            manager_role_id=roles["manager"],
            member_role_id=roles["member"],
            reader_role_id=roles["reader"],
            token_key=b"k" * 32,
        ),
    )
    one, two = ProjectId(new_hex_id()), ProjectId(new_hex_id())
    for project, name in ((one, "one"), (two, "two")):
        await _do(cloud.state, ProjectCreate(project_id=project, domain_id=domain, name=name))
    people = {"admin": await _person(cloud, session, url, admin_user, admin_project)}
    for name, project, role in (("alice", one, "member"), ("bob", two, "member"), ("reader", one, "reader")):
        user = UserId(new_hex_id())
        await _do(cloud.state, UserCreate(user_id=user, domain_id=domain, name=name))
        await _do(cloud.state, AssignmentGrant(user_id=user, project_id=project, role_id=roles[role]))
        people[name] = await _person(cloud, session, url, user, project)
    return people


_ROLES = ("admin", "manager", "member", "reader")


async def _do(state: HardState, command: Any) -> None:
    await state.propose(command, request_id=new_request_id())


async def _person(
    cloud: Cloud, session: ClientSession, url: str, user_id: UserId, project_id: ProjectId
) -> Person:
    user = await cloud.state.read(GetUser(user_id=user_id))
    assert user is not None
    token, _ = await tokens.issue(cloud, user, project_id, ("password",), None)
    return Person(session, url, token, project_id)

"""One Identity API on the real state engine, with the administrator FabricInit makes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientTimeout

from fabric.api.identity import routes
from fabric.api.server import ApiServer, build_root
from fabric.control.context import Cloud
from fabric.control.passwords import hash_password
from fabric.store.lone_voter import lone_voter
from proto.commands.identity import FabricInit
from proto.ids import DomainId, FabricId, NodeId, ProjectId, RoleId, UserId, new_request_id
from tests.api.core.state_double import ClockDouble
from tests.fixtures.newest_level import raise_to_newest

NODE = NodeId("0f" * 16)
PASSWORD = "swordfish"
PASSWORD_HASH = hash_password(PASSWORD)


@dataclass
class IdentityWorld:
    cloud: Cloud
    clock: ClockDouble
    session: ClientSession
    url: str

    async def ask(
        self, method: str, path: str, *, token: str | None = None, **more: Any
    ) -> tuple[int, Any, dict[str, str]]:
        headers = dict(more.pop("headers", {}))
        if token is not None:
            headers["X-Auth-Token"] = token
        async with self.session.request(method, self.url + path, headers=headers, **more) as answer:
            data = await answer.read()
            body = await answer.json() if data else None
            return answer.status, body, dict(answer.headers)

    async def log_in(
        self, name: str = "admin", password: str = PASSWORD, project: str | None = "admin"
    ) -> str:
        status, body, headers = await self.ask(
            "POST", "/identity/v3/auth/tokens", json=auth(name, password, project)
        )
        assert status == 201, body
        return headers["X-Subject-Token"]


def auth(name: str, password: str, project: str | None = None) -> dict[str, Any]:
    user = {"name": name, "domain": {"id": "default"}, "password": password}
    body: dict[str, Any] = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if project is not None:
        body["scope"] = {"project": {"name": project, "domain": {"name": "Default"}}}
    return {"auth": body}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[IdentityWorld]:
    unreachable: Any = None  # Identity asks neither hosts nor blobs nor the fleet
    clock = ClockDouble()
    state = lone_voter(tmp_path / "state", clock=clock)
    await state.open()
    await raise_to_newest(state)
    try:
        cloud = Cloud(state=state, fleet=unreachable, hosts=unreachable, blobs=unreachable, clock=clock)
        await state.propose(_init(), request_id=new_request_id())
        root = build_root(cloud, apps={"/identity": routes.app()})
        server = await ApiServer.listen(root, host="127.0.0.1", port=0)
        try:
            async with ClientSession(timeout=ClientTimeout(total=60)) as session:
                yield IdentityWorld(cloud, clock, session, f"http://127.0.0.1:{server.port}")
        finally:
            await server.close()
    finally:
        await state.close()


def _init() -> FabricInit:
    return FabricInit(
        fabric_id=FabricId("f" * 32),
        node_id=NODE,
        root_public=b"r" * 32,
        domain_id=DomainId("default"),
        admin_project_id=ProjectId("a" * 32),
        service_project_id=ProjectId("b" * 32),
        admin_user_id=UserId("c" * 32),
        admin_password_hash=PASSWORD_HASH,
        admin_role_id=RoleId("1" * 32),
        manager_role_id=RoleId("2" * 32),
        member_role_id=RoleId("3" * 32),
        reader_role_id=RoleId("4" * 32),
        token_key=b"k" * 32,
    )

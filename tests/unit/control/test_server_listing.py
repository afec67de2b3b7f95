"""`control` itself refuses what a caller may not list, whatever front end asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from fabric.control import servers
from fabric.control.context import Caller
from fabric.control.errors import ForbiddenError
from fabric.core.queries import Consistency, Page, Query
from fabric.core.servers.queries import ListServers, ServerFilter
from proto.ids import DomainId, ProjectId, RequestId, UserId
from tests.api.core.state_double import StateDouble, cloud_double

OWN, OTHER = ProjectId("p1"), ProjectId("p2")


@dataclass
class Rows(StateDouble):
    asked: list[ProjectId | None] = field(default_factory=list)

    async def read(self, query: Query[Any], *, consistency: Consistency = Consistency.SESSION) -> Any:
        assert isinstance(query, ListServers)
        self.asked.append(query.filter.project_id)
        return ()


def caller(*roles: str) -> Caller:
    return Caller(
        user_id=UserId("u1"),
        user_name="u",
        domain_id=DomainId("default"),
        project_id=OWN,
        project_name="demo",
        roles=frozenset(roles),
        request_id=RequestId("req-1"),
    )


@pytest.mark.parametrize("project_id", [None, OTHER], ids=["every project", "another project"])
async def test_only_admins_look_beyond_their_project(project_id: ProjectId | None) -> None:
    rows = Rows()
    wanted, page = ServerFilter(project_id=project_id), Page()
    with pytest.raises(ForbiddenError):
        await servers.listing(cloud_double(rows), caller("member", "reader"), wanted, page)
    assert rows.asked == []
    admin = caller("admin", "manager", "member", "reader")
    await servers.listing(cloud_double(rows), admin, wanted, page)
    assert rows.asked == [project_id]


async def test_readers_list_their_own() -> None:
    rows = Rows()
    await servers.listing(cloud_double(rows), caller("reader"), ServerFilter(project_id=OWN), Page())
    assert rows.asked == [OWN]
    with pytest.raises(ForbiddenError):
        await servers.listing(cloud_double(rows), caller(), ServerFilter(project_id=OWN), Page())

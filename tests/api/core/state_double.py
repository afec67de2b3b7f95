"""A state that knows one fabric and one user: enough to carry a real token through the pipeline."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from fabric.control.context import Cloud
from fabric.control.tokens import issue
from fabric.core.identity.model import AuthContext, FabricIdentity, Project, Role, User
from fabric.core.identity.queries import GetAuthContext, GetFabric
from fabric.core.queries import Applied, Consistency, Query
from fabric.errors import NoQuorumError
from fabric.runtime.hard_state import Listener
from proto.commands import Command
from proto.ids import DomainId, FabricId, LogIndex, NodeId, ProjectId, RequestId, RoleId, UserId

DOMAIN = DomainId("default")
PROJECT = Project(
    project_id=ProjectId("p1"), domain_id=DOMAIN, name="demo", description="", enabled=True, created_ms=1
)
USER = User(
    user_id=UserId("u1"),
    domain_id=DOMAIN,
    name="ada",
    password_hash=None,
    enabled=True,
    default_project_id=None,
    description="",
    email=None,
    created_ms=1,
    password_ms=1,
)
FABRIC = FabricIdentity(
    fabric_id=FabricId("f1"),
    founder_id=NodeId("n1"),
    root_public=b"r" * 32,
    domain_id=DOMAIN,
    domain_name="Default",
    admin_project_id=ProjectId("p0"),
    token_key=b"k" * 32,
)


@dataclass
class StateDouble:
    user: User | None = USER
    project: Project | None = PROJECT
    role_names: tuple[str, ...] = ("member",)
    revoked: set[str] = field(default_factory=set)
    fabric: FabricIdentity | None = FABRIC
    applied_index: LogIndex = field(default=LogIndex(1))
    passed_over: int = 0

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        raise NoQuorumError("no conductor")

    async def read(self, query: Query[Any], *, consistency: Consistency = Consistency.SESSION) -> Any:
        match query:
            case GetFabric():
                return self.fabric
            case GetAuthContext():
                roles = tuple(
                    Role(role_id=RoleId(name), name=name, description="") for name in self.role_names
                )
                project = self.project if query.project_id is not None else None
                return AuthContext(
                    user=self.user,
                    project=project,
                    role_names=self.role_names if project else (),
                    roles=roles if project else (),
                    revoked=query.audit_id in self.revoked,
                )
        raise AssertionError(query)

    async def catch_up(self) -> None:
        raise NoQuorumError("no conductor")

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return lambda: None


@dataclass
class ClockDouble:
    """Wall time stands still until a test moves it."""

    now_ms: int = 1_700_000_000_000

    def monotonic_ms(self) -> int:
        return time.monotonic_ns() // 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms


def cloud_double(state: StateDouble | None = None, clock: ClockDouble | None = None) -> Cloud:
    """Fleet, hosts and blobs are not reached by what these tests do."""
    unreachable: Any = None
    return Cloud(
        state=state or StateDouble(),
        fleet=unreachable,
        hosts=unreachable,
        blobs=unreachable,
        clock=clock or ClockDouble(),
    )


async def token_for(cloud: Cloud, project_id: ProjectId | None = PROJECT.project_id) -> str:
    text, _ = await issue(cloud, USER, project_id, ("password",), None)
    return text

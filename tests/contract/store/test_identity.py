"""Identity commands, accepted and each way rejected, on both engines."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.catalog.queries import ListKeypairs
from fabric.core.identity.queries import (
    FindProject,
    FindUser,
    GetAuthContext,
    GetFabric,
    GetProject,
    GetRole,
    GetUser,
    IsRevoked,
    ListAssignments,
    ListProjects,
    ListRoles,
    ListUsers,
)
from fabric.core.quotas.model import ALL_LIMITS, GetQuotas
from proto.commands import Command
from proto.commands.catalog import ImageDelete, KeypairCreate
from proto.commands.identity import (
    AssignmentGrant,
    AssignmentRevoke,
    AuthTokenRevoke,
    ProjectCreate,
    ProjectDelete,
    ProjectUpdate,
    RoleCreate,
    RoleDelete,
    UserCreate,
    UserDelete,
    UserUpdate,
)
from proto.commands.networks import NetworkDelete
from proto.commands.quotas import QuotaReset, QuotaSet
from proto.ids import DomainId, ProjectId, RoleId, UserId
from tests.fixtures.store_world import (
    ADMIN,
    ADMIN_PROJECT,
    DOMAIN,
    IMAGE,
    NETWORK,
    NODE,
    PROJECT,
    USER,
    StoreWorld,
    fabric_init,
)

NONE_P, NONE_U, NONE_R = ProjectId("no-project"), UserId("no-user"), RoleId("no-role")
MEMBER = RoleId("r-member")


async def test_init_makes_the_admin_and_happens_once(bare: StoreWorld) -> None:
    assert await bare.ask(GetFabric()) is None
    await bare.do(fabric_init())
    fabric = await bare.ask(GetFabric())
    assert fabric is not None
    assert (fabric.founder_id, fabric.domain_id, fabric.domain_name) == (NODE, DOMAIN, "Default")
    assert fabric.token_key == b"k" * 32
    assert {role.name for role in await bare.ask(ListRoles())} == {"admin", "manager", "member", "reader"}
    assert {project.name for project in await bare.ask(ListProjects())} == {"admin", "service"}
    admin = await bare.ask(FindUser(name="admin"))
    assert admin is not None
    context = await bare.ask(GetAuthContext(user_id=ADMIN, project_id=ADMIN_PROJECT, audit_id="x"))
    assert context.role_names == ("admin",)
    await bare.refuse(replace(fabric_init(), domain_id=DomainId("other")), "conflict", "already initialised")


async def test_projects(world: StoreWorld) -> None:
    command = ProjectCreate(project_id=ProjectId("p-x"), domain_id=DOMAIN, name="x", description="d")
    await world.do(command)
    await world.refuse(command, "conflict", "Duplicate ID")
    await world.refuse(
        replace(command, project_id=ProjectId("p-y")), "conflict", "name x at domain ID default"
    )
    await world.refuse(replace(command, domain_id=DomainId("nowhere")), "not_found", "domain: nowhere")
    await world.refuse(ProjectUpdate(project_id=command.project_id, name="demo"), "conflict")
    await world.refuse(ProjectUpdate(project_id=NONE_P, name="z"), "not_found", "project: no-project")
    await world.do(ProjectUpdate(project_id=command.project_id, enabled=False, name="x"))
    found = await world.ask(GetProject(project_id=command.project_id))
    assert found is not None
    assert (found.name, found.description, found.enabled) == ("x", "d", False)
    assert await world.ask(ListProjects(enabled=False)) == (found,)
    await world.do(ProjectDelete(project_id=command.project_id))
    assert await world.ask(FindProject(name="x")) is None
    await world.refuse(ProjectDelete(project_id=command.project_id), "not_found")


async def test_a_project_that_owns_things_stays(world: StoreWorld) -> None:
    server_id = await world.server("web")
    await world.refuse(ProjectDelete(project_id=PROJECT), "in_use", "servers")
    await world.do(world.act(server_id, "delete"))
    await world.refuse(ProjectDelete(project_id=PROJECT), "in_use", "images")
    await world.do(ImageDelete(image_id=IMAGE))
    await world.refuse(ProjectDelete(project_id=PROJECT), "in_use", "networks")
    await world.do(NetworkDelete(network_id=NETWORK))
    await world.do(AssignmentGrant(user_id=USER, project_id=PROJECT, role_id=MEMBER))
    await world.do(UserUpdate(user_id=USER, default_project_id=PROJECT))
    await world.do(ProjectDelete(project_id=PROJECT))
    assert await world.ask(ListAssignments(user_id=USER)) == ()
    user = await world.ask(GetUser(user_id=USER))
    assert user is not None
    assert user.default_project_id is None


async def test_users(world: StoreWorld) -> None:
    command = UserCreate(user_id=UserId("u-x"), domain_id=DOMAIN, name="x", password_hash="h1", email="x@y")
    await world.do(command)
    await world.refuse(command, "conflict", "Duplicate ID")
    await world.refuse(replace(command, user_id=UserId("u-y")), "conflict", "name x at domain")
    away = replace(command, user_id=UserId("u-y"), name="y", domain_id=DomainId("nowhere"))
    await world.refuse(away, "not_found", "domain")
    homeless = replace(command, user_id=UserId("u-y"), name="y", default_project_id=NONE_P)
    await world.refuse(homeless, "not_found", "project")
    await world.refuse(UserUpdate(user_id=NONE_U, name="z"), "not_found", "user: no-user")
    await world.refuse(UserUpdate(user_id=command.user_id, name="demo"), "conflict")
    await world.refuse(UserUpdate(user_id=command.user_id, default_project_id=NONE_P), "not_found")
    before = await world.ask(GetUser(user_id=command.user_id))
    world.clock.advance(1_000)
    await world.do(UserUpdate(user_id=command.user_id, enabled=False))
    same = await world.ask(GetUser(user_id=command.user_id))
    await world.do(UserUpdate(user_id=command.user_id, password_hash="h2"))
    after = await world.ask(GetUser(user_id=command.user_id))
    assert before is not None
    assert same is not None
    assert after is not None
    assert (same.enabled, same.password_ms, same.email) == (False, before.password_ms, "x@y")
    assert (after.password_hash, after.password_ms) == ("h2", before.password_ms + 1_000)
    assert [user.name for user in await world.ask(ListUsers(enabled=False))] == ["x"]


async def test_deleting_a_user_takes_its_keys_and_roles(world: StoreWorld) -> None:
    await world.do(AssignmentGrant(user_id=USER, project_id=PROJECT, role_id=MEMBER))
    await world.do(
        KeypairCreate(
            user_id=USER, project_id=PROJECT, name="k", key_type="ssh", public_key="k", fingerprint="f"
        )
    )
    await world.do(UserDelete(user_id=USER))
    assert await world.ask(ListAssignments(project_id=PROJECT)) == ()
    assert await world.ask(ListKeypairs(user_id=USER)) == ()
    await world.refuse(UserDelete(user_id=USER), "not_found")


async def test_roles(world: StoreWorld) -> None:
    await world.do(RoleCreate(role_id=RoleId("r-x"), name="auditor", description="reads"))
    await world.refuse(RoleCreate(role_id=RoleId("r-x"), name="other"), "conflict", "Duplicate ID")
    await world.refuse(RoleCreate(role_id=RoleId("r-y"), name="auditor"), "conflict", "auditor")
    await world.refuse(RoleDelete(role_id=NONE_R), "not_found", "role: no-role")
    await world.refuse(RoleDelete(role_id=MEMBER), "forbidden", "immutable")
    await world.do(AssignmentGrant(user_id=USER, project_id=PROJECT, role_id=RoleId("r-x")))
    await world.do(RoleDelete(role_id=RoleId("r-x")))
    assert await world.ask(GetRole(role_id=RoleId("r-x"))) is None
    assert await world.ask(ListAssignments(user_id=USER)) == ()


@pytest.mark.parametrize(
    "command",
    [
        AssignmentGrant(user_id=NONE_U, project_id=PROJECT, role_id=MEMBER),
        AssignmentGrant(user_id=USER, project_id=NONE_P, role_id=MEMBER),
        AssignmentGrant(user_id=USER, project_id=PROJECT, role_id=NONE_R),
        AssignmentRevoke(user_id=USER, project_id=PROJECT, role_id=MEMBER),
    ],
)
async def test_assignments_need_what_they_name(world: StoreWorld, command: Command) -> None:
    await world.refuse(command, "not_found")


async def test_granting_twice_is_the_same_as_once(world: StoreWorld) -> None:
    for _ in range(2):
        await world.do(AssignmentGrant(user_id=USER, project_id=PROJECT, role_id=MEMBER))
    assert len(await world.ask(ListAssignments(user_id=USER))) == 1
    assert [project.name for project in await world.ask(ListProjects(user_id=USER))] == ["demo"]
    await world.do(AssignmentRevoke(user_id=USER, project_id=PROJECT, role_id=MEMBER))
    assert await world.ask(ListAssignments(user_id=USER)) == ()


async def test_revoked_tokens_are_kept_until_their_end(world: StoreWorld) -> None:
    end = world.clock.now_ms + 1_000
    for _ in range(2):
        await world.do(AuthTokenRevoke(audit_id="a1", expires_ms=end))
    assert await world.ask(IsRevoked(audit_id="a1"))
    context = await world.ask(GetAuthContext(user_id=USER, project_id=PROJECT, audit_id="a1"))
    assert context.revoked
    world.clock.advance(2_000)
    await world.do(AuthTokenRevoke(audit_id="a2", expires_ms=end + 9_000))
    assert not await world.ask(IsRevoked(audit_id="a1"))


async def test_auth_context_of_the_unknown(world: StoreWorld) -> None:
    context = await world.ask(GetAuthContext(user_id=NONE_U, project_id=NONE_P, audit_id="a"))
    assert (context.user, context.project, context.roles, context.revoked) == (None, None, (), False)


async def test_quotas(world: StoreWorld) -> None:
    await world.refuse(QuotaSet(project_id=NONE_P, limits={"cores": 1}), "not_found")
    await world.refuse(QuotaSet(project_id=PROJECT, limits={"wishes": 3}), "invalid", "wishes")
    await world.refuse(QuotaSet(project_id=PROJECT, limits={"cores": -2}), "invalid", "-1 or greater")
    await world.do(QuotaSet(project_id=PROJECT, limits={"cores": 7, "ram": -1}))
    await world.do(QuotaSet(project_id=PROJECT, limits={"cores": 8}))
    await world.server("web")
    quotas = await world.ask(GetQuotas(project_id=PROJECT, user_id=USER))
    assert dict(quotas.limits) == {**ALL_LIMITS, "cores": 8, "ram": -1}
    used = {name: count for name, count in quotas.used.items() if count}
    expected = {"instances": 1, "cores": 1, "ram": 512, "port": 1, "network": 1, "subnet": 1}
    assert used == {**expected, "security_group": 1}
    await world.refuse(QuotaReset(project_id=NONE_P), "not_found")
    await world.do(QuotaReset(project_id=PROJECT))
    assert dict((await world.ask(GetQuotas(project_id=PROJECT))).limits) == dict(ALL_LIMITS)

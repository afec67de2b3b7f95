"""Limits of users, quota classes and unified limits: one number each, whoever sets it. On both engines."""

from __future__ import annotations

import asyncio
import dataclasses
from collections import Counter
from collections.abc import Sequence

import pytest

from fabric.core.quotas.model import (
    ALL_LIMITS,
    COMPUTE_RESOURCES,
    GetQuotaClass,
    GetQuotas,
    ListLimitedProjects,
    ListUserLimits,
)
from fabric.core.quotas.unified import ListLimits, ListRegisteredLimits, RegisteredLimit, built_in_id
from fabric.core.servers.queries import ListServers
from fabric.core.voters.levels import GetLevel
from fabric.errors import CommandRejectedError
from proto.commands import Command
from proto.commands.catalog import FlavorUpdate, KeypairCreate
from proto.commands.identity import ProjectCreate, ProjectDelete, UserCreate, UserDelete
from proto.commands.limits import (
    LimitDelete,
    LimitsCreate,
    LimitUpdate,
    NewLimit,
    NewRegisteredLimit,
    RegisteredLimitDelete,
    RegisteredLimitsCreate,
    RegisteredLimitUpdate,
)
from proto.commands.quotas import QuotaClassSet, QuotaReset, QuotaResetOf, QuotaSet, QuotaSetOf
from proto.commands.server_groups import ServerGroupCreate
from proto.commands.servers import ServerCreateHinted, ServerRemoved, ServerUpdate
from proto.ids import FlavorId, ProjectId, RequestId, ServerGroupId, ServerId, UserId
from tests.fixtures.store_world import (
    DOMAIN,
    FLAVOR,
    HOST_A,
    PROJECT,
    USER,
    StoreWorld,
    fabric_init,
    flavor_create,
)

OTHER = UserId("u-other")
ELSEWHERE = ProjectId("p-elsewhere")


def set_user(limits: dict[str, int], user: UserId = USER) -> QuotaSetOf:
    return QuotaSetOf(project_id=PROJECT, user_id=user, limits=limits)


def registration(
    name: str, limit: int, *, service: str = "compute", **more: str | None
) -> NewRegisteredLimit:
    fields: dict[str, str | None] = {"limit_id": f"id-of-{name}"} | more
    return NewRegisteredLimit(service_type=service, resource_name=name, default_limit=limit, **fields)  # type: ignore[arg-type]


def register(*limits: NewRegisteredLimit) -> RegisteredLimitsCreate:
    return RegisteredLimitsCreate(limits=limits)


def give(
    name: str, limit: int, owner: str = PROJECT, *, service: str = "compute", region: str | None = None
) -> LimitsCreate:
    new = NewLimit(
        owner_id=owner, service_type=service, resource_name=name, region_id=region, resource_limit=limit
    )
    return LimitsCreate(limits=(new,))


async def registered(world: StoreWorld, name: str) -> RegisteredLimit:
    (found,) = [each for each in await world.ask(ListRegisteredLimits()) if each.resource_name == name]
    return found


async def limit_of(world: StoreWorld, resource: str, project: ProjectId = PROJECT) -> int:
    return (await world.ask(GetQuotas(project_id=project))).limits[resource]


async def given(world: StoreWorld, owner: str | None = None) -> list[tuple[str, str, int]]:
    found = await world.ask(ListLimits(owner_id=owner))
    return [(each.owner_id, each.resource_name, each.resource_limit) for each in found]


class TestUsers:
    async def test_a_users_servers_are_counted_apart(self, world: StoreWorld) -> None:
        await world.do(UserCreate(user_id=OTHER, domain_id=DOMAIN, name="other", password_hash="h"))
        await world.do(set_user({"instances": 2}))
        await world.server("a", ports=())
        await world.server("b", ports=())
        message = await world.refuse(world.server_create("c"), "quota")
        assert message == "Quota exceeded for instances: Requested 1, but already used 2 of 2 instances"
        await world.server("d", ports=(), user_id=OTHER)
        await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 3}))
        message = await world.refuse(world.server_create("e", user_id=OTHER), "quota")
        assert message.endswith("already used 3 of 3 instances")
        own = await world.ask(GetQuotas(project_id=PROJECT, user_id=USER))
        assert (own.limits["instances"], own.used["instances"], own.used["cores"]) == (2, 2, 2)
        others = await world.ask(GetQuotas(project_id=PROJECT, user_id=OTHER))
        assert (others.limits["instances"], others.used["instances"]) == (3, 1)

    async def test_cores_and_ram_and_several_at_once(self, world: StoreWorld) -> None:
        await world.do(flavor_create("big", vcpus=4, memory_mb=2_000))
        await world.do(set_user({"cores": 6, "ram": 3_000}))
        await world.server("a", ports=(), flavor_id=FlavorId("big"))
        message = await world.refuse(world.server_create("b", flavor_id=FlavorId("big")), "quota")
        assert message == (
            "Quota exceeded for cores, ram: Requested 4, 2000, but already used 4, 2000 of 6, 3000 cores, ram"
        )

    async def test_key_pairs_and_metadata_take_the_lower_of_the_two(self, world: StoreWorld) -> None:
        def pair(name: str) -> KeypairCreate:
            return KeypairCreate(
                user_id=USER, project_id=PROJECT, name=name, key_type="ssh", public_key="k", fingerprint="f"
            )

        await world.do(set_user({"key_pairs": 1, "metadata_items": 1}))
        await world.do(pair("one"))
        await world.refuse(pair("two"), "quota", "too many key pairs")
        two = {"a": "", "b": ""}
        await world.refuse(world.server_create("a", metadata=two), "quota", "exceeds 1")
        await world.server("a", ports=())
        await world.refuse(ServerUpdate(server_id=ServerId("a"), metadata=two), "quota", "exceeds 1")
        await world.do(QuotaSet(project_id=PROJECT, limits={"key_pairs": 0, "metadata_items": -1}))
        await world.refuse(pair("two"), "quota")
        await world.do(set_user({"metadata_items": -1}))
        await world.do(ServerUpdate(server_id=ServerId("a"), metadata=two))

    async def test_server_groups_too(self, world: StoreWorld) -> None:
        def group(name: str, user: UserId) -> ServerGroupCreate:
            return ServerGroupCreate(
                group_id=ServerGroupId(name), project_id=PROJECT, user_id=user, name=name, policy="affinity"
            )

        def joining(name: str) -> ServerCreateHinted:
            plain = world.server_create(name)
            same = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
            return ServerCreateHinted(**same, group_id=ServerGroupId("a"))

        await world.do(set_user({"server_groups": 1, "server_group_members": 1}))
        await world.do(group("a", USER))
        await world.refuse(group("b", USER), "quota", "Quota exceeded, too many server groups.")
        await world.do(group("b", OTHER))
        await world.do(joining("one"))
        await world.refuse(joining("two"), "quota", "too many servers in group")
        own = await world.ask(GetQuotas(project_id=PROJECT, user_id=USER))
        whole = await world.ask(GetQuotas(project_id=PROJECT))
        assert (own.used["server_groups"], whole.used["server_groups"]) == (1, 2)

    async def test_what_cannot_be_set(self, world: StoreWorld) -> None:
        await world.refuse(set_user({"instances": 1}, UserId("nobody")), "not_found", "nobody")
        await world.refuse(set_user({"port": 1}), "invalid", "port is unknown")
        await world.refuse(set_user({"instances": -2}), "invalid", "-1 or greater")
        await world.refuse(QuotaSetOf(project_id=ELSEWHERE, limits={}), "not_found")
        await world.refuse(QuotaSetOf(project_id=PROJECT, limits={"wishes": 1}), "invalid")
        await world.do(QuotaSetOf(project_id=PROJECT, limits={"injected_files": 5, "floating_ips": 7}))
        assert await limit_of(world, "injected_files") == 5
        assert await limit_of(world, "floating_ips") == 7
        assert await given(world, PROJECT) == [(PROJECT, "server_injected_files", 5)]

    async def test_resets_are_of_what_they_name(self, world: StoreWorld) -> None:
        limits = {"instances": 5, "port": 6}
        await world.do(QuotaSet(project_id=PROJECT, limits=limits))
        await world.do(set_user({"instances": 2, "cores": 3}))
        (own,) = await world.ask(ListUserLimits(project_id=PROJECT))
        assert (own.user_id, own.limits) == (USER, {"instances": 2, "cores": 3})
        await world.do(QuotaResetOf(project_id=PROJECT, user_id=USER, resources=("cores",)))
        assert (await world.ask(ListUserLimits(project_id=PROJECT)))[0].limits == {"instances": 2}
        assert await limit_of(world, "instances") == 5
        assert await world.ask(ListLimitedProjects(resources=("port", "subnet"))) == (PROJECT,)
        await world.do(QuotaResetOf(project_id=PROJECT, resources=COMPUTE_RESOURCES))
        assert await world.ask(ListUserLimits(project_id=PROJECT)) == ()
        assert (await limit_of(world, "instances"), await limit_of(world, "port")) == (10, 6)
        await world.do(QuotaReset(project_id=PROJECT))
        assert await limit_of(world, "port") == 500
        assert await world.ask(ListLimitedProjects(resources=("port", "subnet"))) == ()

    async def test_limits_go_with_project_and_user(self, world: StoreWorld) -> None:
        await world.do(ProjectCreate(project_id=ELSEWHERE, domain_id=DOMAIN, name="elsewhere"))
        await world.do(QuotaSetOf(project_id=ELSEWHERE, user_id=USER, limits={"instances": 2}))
        await world.do(set_user({"instances": 2}))
        await world.do(give("servers", 7, ELSEWHERE))
        await world.do(
            LimitUpdate(owner_id=ELSEWHERE, resource="instances", resource_limit=8, description="x")
        )
        await world.do(ProjectDelete(project_id=ELSEWHERE))
        assert await world.ask(ListUserLimits(project_id=ELSEWHERE)) == ()
        assert await given(world) == []
        await world.do(ProjectCreate(project_id=ELSEWHERE, domain_id=DOMAIN, name="elsewhere"))
        await world.do(give("servers", 7, ELSEWHERE))
        assert [each.description for each in await world.ask(ListLimits())] == [None]
        assert len(await world.ask(ListUserLimits(project_id=PROJECT))) == 1
        await world.do(UserDelete(user_id=USER))
        assert await world.ask(ListUserLimits(project_id=PROJECT)) == ()


class TestClasses:
    async def test_the_default_class_is_everybodys_default(self, world: StoreWorld) -> None:
        await world.do(QuotaClassSet(class_name="default", limits={"instances": 1, "port": 2}))
        assert await limit_of(world, "instances") == 1
        assert (await world.ask(GetQuotaClass()))["port"] == 2
        assert (await registered(world, "servers")).default_limit == 1
        await world.server("a", ports=())
        await world.refuse(world.server_create("b"), "quota", "1 of 1 instances")
        await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 2}))
        await world.server("b", ports=())

    async def test_other_classes_are_kept_and_used_by_nobody(self, world: StoreWorld) -> None:
        assert await world.ask(GetQuotaClass(class_name="gold")) == dict(ALL_LIMITS)
        await world.do(QuotaClassSet(class_name="gold", limits={"instances": 99}))
        await world.do(QuotaClassSet(class_name="gold", limits={"instances": 98, "cores": 97}))
        gold = await world.ask(GetQuotaClass(class_name="gold"))
        assert gold == {**ALL_LIMITS, "instances": 98, "cores": 97}
        assert await limit_of(world, "instances") == 10
        await world.refuse(QuotaClassSet(class_name="gold", limits={"wishes": 1}), "invalid")


class TestRegistered:
    async def test_the_fabrics_own_are_there_and_can_be_set_and_replaced(self, world: StoreWorld) -> None:
        own = await registered(world, "servers")
        assert (own.limit_id, own.default_limit, own.is_built_in) == (built_in_id("instances"), 10, True)
        changed = registration("servers", 4, limit_id=own.limit_id, description="ours")
        await world.do(RegisteredLimitUpdate(limit=changed, former_default=10))
        found = await registered(world, "servers")
        assert (found.limit_id, found.default_limit, found.description) == (own.limit_id, 4, "ours")
        assert await limit_of(world, "instances") == 4
        await world.refuse(RegisteredLimitDelete(limit_id=own.limit_id), "forbidden", "cannot be deleted")
        other = registration("class:VCPU", 4, limit_id=own.limit_id)
        await world.refuse(RegisteredLimitUpdate(limit=other), "forbidden", "stays what it is")

    async def test_one_that_is_registered_takes_the_fabrics_place(self, world: StoreWorld) -> None:
        await world.do(register(registration("servers", 3), registration("class:DISK_GB", 40)))
        found = await registered(world, "servers")
        assert (found.limit_id, found.default_limit) == ("id-of-servers", 3)
        assert await limit_of(world, "instances") == 3
        await world.refuse(
            RegisteredLimitDelete(limit_id=built_in_id("instances")), "not_found", "registered limit"
        )
        await world.refuse(
            register(registration("servers", 9, limit_id="twin")), "conflict", "Duplicate entry"
        )
        await world.refuse(register(registration("other", 9, limit_id="id-of-servers")), "conflict")
        await world.do(RegisteredLimitDelete(limit_id="id-of-servers", former_default=10))
        assert (await registered(world, "servers")).limit_id == built_in_id("instances")
        assert await limit_of(world, "instances") == 10
        await world.do(RegisteredLimitDelete(limit_id="id-of-class:DISK_GB"))
        assert "class:DISK_GB" not in (await world.ask(GetQuotas(project_id=PROJECT))).limits

    async def test_many_are_all_or_none(self, world: StoreWorld) -> None:
        bulk = register(registration("class:A", 1), registration("class:A", 2, limit_id="again"))
        await world.refuse(bulk, "conflict")
        names = {each.resource_name for each in await world.ask(ListRegisteredLimits())}
        assert "class:A" not in names

    async def test_with_limits_it_stays(self, world: StoreWorld) -> None:
        await world.do(register(registration("class:A", 1)))
        await world.do(give("class:A", 5))
        update = RegisteredLimitUpdate(limit=registration("class:A", 2))
        for command in (update, RegisteredLimitDelete(limit_id="id-of-class:A")):
            message = await world.refuse(command, "forbidden")
            assert message == (
                "Unable to update or delete registered limit id-of-class:A because there are project limits "
                "associated with it."
            )
        await world.do(LimitDelete(owner_id=PROJECT, resource="class:A"))
        await world.do(update)
        assert (await registered(world, "class:A")).default_limit == 2

    async def test_one_may_become_another(self, world: StoreWorld) -> None:
        await world.do(register(registration("servers", 3), registration("class:B", 7)))
        moved = registration("class:A", 5, limit_id="id-of-servers")
        await world.do(RegisteredLimitUpdate(limit=moved, former_default=10))
        assert (await registered(world, "class:A")).default_limit == 5
        assert (await registered(world, "servers")).is_built_in
        assert await limit_of(world, "instances") == 10
        taken = registration("class:B", 5, limit_id="id-of-servers")
        await world.refuse(RegisteredLimitUpdate(limit=taken), "conflict")
        await world.refuse(RegisteredLimitUpdate(limit=registration("x", 1)), "not_found")
        below = registration("class:A", -2, limit_id="id-of-servers")
        await world.refuse(RegisteredLimitUpdate(limit=below), "invalid")


class TestGiven:
    async def test_a_quota_is_a_limit_and_a_limit_a_quota(self, world: StoreWorld) -> None:
        await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 5}))
        assert await given(world) == [(PROJECT, "servers", 5)]
        await world.refuse(give("servers", 6), "conflict", "Duplicate entry")
        await world.do(LimitUpdate(owner_id=PROJECT, resource="instances", resource_limit=1, description="d"))
        assert await limit_of(world, "instances") == 1
        await world.server("a", ports=())
        await world.refuse(world.server_create("b"), "quota", "1 of 1 instances")
        await world.do(LimitDelete(owner_id=PROJECT, resource="instances"))
        assert await limit_of(world, "instances") == 10
        await world.do(give("servers", 7))
        assert await limit_of(world, "instances") == 7
        await world.do(QuotaReset(project_id=PROJECT))
        assert await given(world) == []

    async def test_of_a_domain_it_is_kept_and_limits_no_project(self, world: StoreWorld) -> None:
        await world.do(give("servers", 0, DOMAIN))
        (found,) = await world.ask(ListLimits())
        assert (found.project_id, found.domain_id, found.resource_limit) == (None, DOMAIN, 0)
        await world.server("a", ports=())

    async def test_what_cannot_be_given(self, world: StoreWorld) -> None:
        reference = "no corresponding registered limit"
        await world.refuse(give("class:A", 1), "forbidden", reference)
        await world.refuse(give("servers", 1, region="RegionOne"), "forbidden", reference)
        await world.refuse(give("servers", 1, ELSEWHERE), "not_found", ELSEWHERE)
        await world.refuse(give("servers", -2), "invalid")
        await world.do(register(registration("servers", 9, region_id="RegionOne")))
        await world.refuse(give("servers", 1), "forbidden", reference)
        await world.do(give("servers", 1, region="RegionOne"))
        assert [each.region_id for each in await world.ask(ListLimits())] == ["RegionOne"]
        for command in (
            LimitUpdate(owner_id=PROJECT, resource="cores", resource_limit=1),
            LimitDelete(owner_id=PROJECT, resource="cores"),
            LimitDelete(owner_id="", resource="cores"),
        ):
            await world.refuse(command, "not_found", "Could not find limit")

    async def test_classes_are_counted_from_servers(self, world: StoreWorld) -> None:
        gpu = {"resources:CUSTOM_GPU": "2"}
        await world.do(flavor_create("fat", root_gb=10, ephemeral_gb=1, swap_mb=1))
        await world.do(FlavorUpdate(flavor_id=FlavorId("fat"), extra_specs_set=gpu))
        await world.do(register(registration("class:DISK_GB", -1), registration("class:CUSTOM_GPU", 3)))
        await world.do(give("class:DISK_GB", 13))
        fat = FlavorId("fat")
        await world.server("a", ports=(), flavor_id=fat)
        await world.refuse(
            world.server_create("b", flavor_id=fat),
            "quota",
            "Quota exceeded for class:CUSTOM_GPU, class:DISK_GB: Requested 2, 12, but already used 2, 12 of "
            "3, 13 class:CUSTOM_GPU, class:DISK_GB",
        )
        await world.server("b", ports=(), flavor_id=FLAVOR)  # 1 GB and no GPU
        await world.refuse(world.server_create("c", flavor_id=FLAVOR), "quota", "13 of 13 class:DISK_GB")
        used = (await world.ask(GetQuotas(project_id=PROJECT))).used
        assert (used["class:DISK_GB"], used["class:CUSTOM_GPU"]) == (13, 2)


class TestManyAtOnce:
    """Proposals gathered, so that they come in whatever groups the engine makes."""

    @pytest.mark.parametrize(("resource", "limit"), [("instances", 17), ("cores", 17), ("ram", 17 * 512)])
    async def test_exactly_as_many_as_allowed(self, world: StoreWorld, resource: str, limit: int) -> None:
        roomy = dict.fromkeys(("instances", "cores", "ram", "port"), -1)
        await world.do(QuotaSet(project_id=PROJECT, limits={**roomy, resource: limit}))
        said = await at_once(world, [world.server_create(f"s{number}") for number in range(120)])
        each = limit // 17
        text = (
            f"Quota exceeded for {resource}: Requested {each}, but already used {limit} of {limit} {resource}"
        )
        assert said == {"made": 17, text: 103}
        await recounted(world, PROJECT, 17)

    async def test_of_users_and_projects_side_by_side(self, world: StoreWorld) -> None:
        await world.do(ProjectCreate(project_id=ELSEWHERE, domain_id=DOMAIN, name="elsewhere"))
        await world.do(UserCreate(user_id=OTHER, domain_id=DOMAIN, name="other", password_hash="h"))
        await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 11}))
        await world.do(QuotaSet(project_id=ELSEWHERE, limits={"instances": 5}))
        await world.do(set_user({"instances": 4}))
        commands: list[Command] = []
        for number in range(40):
            commands.append(world.server_create(f"a{number}"))
            commands.append(world.server_create(f"b{number}", user_id=OTHER))
            commands.append(world.server_create(f"c{number}", project_id=ELSEWHERE))
        said = await at_once(world, commands)
        assert said["made"] == 11 + 5
        await recounted(world, PROJECT, 11)
        await recounted(world, ELSEWHERE, 5)
        own = await world.ask(GetQuotas(project_id=PROJECT, user_id=USER))
        assert own.used["instances"] == 4

    async def test_what_is_given_back_can_be_taken_again(self, world: StoreWorld) -> None:
        await world.do(QuotaSet(project_id=PROJECT, limits={"instances": 3}))
        for number in range(3):
            await world.active(f"old{number}")
        gone: list[Command] = []
        for number in range(3):
            await world.do(world.act(ServerId(f"old{number}"), "delete"))
            gone.append(ServerRemoved(server_id=ServerId(f"old{number}"), host_id=HOST_A))
        wanted = [world.server_create(f"s{number}") for number in range(20)]
        said = await at_once(world, [*wanted[:10], *gone, *wanted[10:]])
        assert said["made"] == 3 + 3
        await recounted(world, PROJECT, 3)


async def at_once(world: StoreWorld, commands: Sequence[Command]) -> Counter[str]:
    """How many were accepted, and of the others how often each thing was said."""
    proposals = [
        world.engine.propose(command, request_id=RequestId(f"req-{number}"))
        for number, command in enumerate(commands)
    ]
    answers = await asyncio.gather(*proposals, return_exceptions=True)
    said: Counter[str] = Counter()
    for answer in answers:
        if isinstance(answer, CommandRejectedError):
            assert answer.reason == "quota"
            said[answer.message] += 1
        else:
            assert not isinstance(answer, BaseException), answer
            said["made"] += 1
    return said


async def recounted(world: StoreWorld, project: ProjectId, count: int) -> None:
    views = [view.server for view in await world.ask(ListServers())]
    mine = [server for server in views if server.project_id == project]
    used = (await world.ask(GetQuotas(project_id=project))).used
    assert len(mine) == count
    assert used["instances"] == count
    assert used["cores"] == sum(server.flavor.vcpus for server in mine)
    assert used["ram"] == sum(server.flavor.memory_mb for server in mine)


async def test_at_level_one_there_is_nothing_of_it_yet(bare: StoreWorld) -> None:
    await bare.do(fabric_init())
    if await bare.ask(GetLevel()) > 1:
        pytest.skip("a shared database begins at the newest level")
    await bare.do(ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name="demo"))
    await bare.do(UserCreate(user_id=USER, domain_id=DOMAIN, name="demo", password_hash="h"))
    for command in (set_user({"instances": 1}), register(registration("class:A", 1)), give("servers", 1)):
        await bare.refuse(command, "bad_state", "level 2")
    await bare.do(QuotaSet(project_id=PROJECT, limits={"instances": 5}))
    assert await given(bare) == [(PROJECT, "servers", 5)]
    assert all(each.is_built_in for each in await bare.ask(ListRegisteredLimits()))
    assert await bare.ask(ListUserLimits(project_id=PROJECT)) == ()
    assert await bare.ask(GetQuotaClass(class_name="gold")) == dict(ALL_LIMITS)
    assert (await bare.ask(GetQuotas(project_id=PROJECT, user_id=USER))).limits["instances"] == 5
    await bare.do(QuotaReset(project_id=PROJECT))
    await bare.do(UserDelete(user_id=USER))
    await bare.do(ProjectDelete(project_id=PROJECT))

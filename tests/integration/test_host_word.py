"""What a host says of itself for the scheduler, from one agent to another through their gossip."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from hashlib import sha256

from fabric.control import aggregates
from fabric.control.context import Caller, Cloud
from fabric.core.identity.queries import ListProjects
from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_word import CPU_METRICS, is_among, short_address
from fabric.runtime.host_view import read_table
from proto.commands.catalog import ImageActivate, ImageCreate
from proto.ids import DomainId, ImageId, NodeId, UserId, new_request_id, new_uuid
from tests.integration.test_agent import WAIT_S, Machine, Yard, yard

__all__ = ["yard"]  # a fixture, used by its name

SHA256, BYTES = "5a" * 32, b"an image" * 1_000


async def test_failed_builds_cached_images_and_metrics_reach_who_schedules(yard: Yard) -> None:
    founder, host = await yard.founder(), yard.machine("h2")
    done = await host.cli("join", "-", stdin=await founder.token())
    assert done.exit_code == 0, done.output
    kept = host.state_dir / "host" / "images" / SHA256  # since an earlier life
    kept.parent.mkdir(parents=True)
    kept.touch()
    agent = await host.start()

    async def known() -> HostFacts | None:
        """Of that host, by whom its server would be placed."""
        return await facts_at(founder, "h2")

    async def has_come() -> bool:
        facts = await known()
        return facts is not None and {*CPU_METRICS[:5]} <= facts.metrics.keys() and bool(facts.cached)

    await until(has_come)
    facts = await known()
    assert facts is not None
    assert is_among(facts.cached, short_address(SHA256))
    assert 99 <= facts.metrics["cpu.percent"] + facts.metrics["cpu.idle.percent"] <= 100
    assert facts.build_failures == 0

    side = agent._host
    assert side is not None
    builds = side._reconciler._builds
    builds.failed(agent._clock.monotonic_ms())
    await until(lambda: says_failures(founder, 1))
    builds.succeeded()
    await until(lambda: says_failures(founder, 0))


async def test_an_image_that_an_aggregate_is_to_cache_lands_at_its_host_and_is_said(yard: Yard) -> None:
    founder = await yard.founder()
    host = await yard.joined(founder, "h2")
    agent = founder.agent
    assert agent is not None
    assert agent._control is not None
    cloud = agent._control._own_cloud()
    assert cloud is not None
    image_id = await an_image(cloud, agent._fleet.me)
    await until(lambda: is_known(founder, "h2"))
    aggregate = await aggregates.create_aggregate(cloud, admin(), name="ssd", availability_zone=None)
    number = aggregate.aggregate.aggregate_id
    await aggregates.add_host(cloud, admin(), number, "h2")
    await aggregates.cache_images(cloud, admin(), number, (image_id,))

    async def is_said() -> bool:
        facts = await facts_at(founder, "h2")
        return facts is not None and is_among(facts.cached, short_address(sha256(BYTES).hexdigest()))

    await until(is_said)
    kept = host.state_dir / "host" / "images" / sha256(BYTES).hexdigest()
    assert kept.read_bytes() == BYTES
    own = await facts_at(founder, "h1")
    assert own is not None
    assert own.cached == b""  # it is of no such aggregate, though it holds the image


async def an_image(cloud: Cloud, holder: NodeId) -> ImageId:
    """Its bytes are with the holder, which is this node."""

    async def chunks() -> AsyncIterator[bytes]:
        yield BYTES

    stored = await cloud.blobs.put(chunks(), limit_bytes=len(BYTES))
    image_id, project = ImageId(new_uuid()), (await cloud.state.read(ListProjects()))[0]
    create = ImageCreate(image_id=image_id, project_id=project.project_id, disk_format="raw")
    await cloud.state.propose(create, request_id=new_request_id())
    activate = ImageActivate(
        image_id=image_id,
        size_bytes=stored.size_bytes,
        virtual_bytes=None,
        md5=stored.md5,
        sha512=stored.sha512,
        sha256=stored.sha256,
        node_id=holder,
    )
    await cloud.state.propose(activate, request_id=new_request_id())
    return image_id


def admin() -> Caller:
    return Caller(
        user_id=UserId("u"),
        user_name="admin",
        domain_id=DomainId("default"),
        project_id=None,
        project_name=None,
        roles=frozenset({"admin"}),
        request_id=new_request_id(),
    )


async def is_known(founder: Machine, name: str) -> bool:
    return await facts_at(founder, name) is not None


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Nothing tells when gossip has come, so it is looked for."""
    async with asyncio.timeout(WAIT_S):
        while not await holds():
            await asyncio.sleep(0.02)


async def facts_at(founder: Machine, name: str) -> HostFacts | None:
    agent = founder.agent
    assert agent is not None
    assert agent.voter is not None
    table = await read_table(agent.voter.state, agent._fleet, ())
    return next((facts for facts in table.hosts if facts.host.name == name), None)


async def says_failures(founder: Machine, count: int) -> bool:
    facts = await facts_at(founder, "h2")
    return facts is not None and facts.build_failures == count

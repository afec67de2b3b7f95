"""What a host says of itself for the scheduler, from one agent to another through their gossip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fabric.core.placement.host_facts import HostFacts
from fabric.core.placement.host_word import CPU_METRICS, is_among, short_address
from fabric.runtime.host_view import read_table
from tests.integration.test_agent import WAIT_S, Machine, Yard, yard

__all__ = ["yard"]  # a fixture, used by its name

SHA256 = "5a" * 32


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

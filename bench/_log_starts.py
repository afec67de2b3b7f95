"""How soon voters are back: all after they all died, one with large tables, one that has nothing yet."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from bench._spread import spread_ms
from bench._voter_cluster import LOOK_S, PATIENCE_S, VoterCluster, VoterProcess, voter_cluster

FILL_IN_FLIGHT = 128
DEFAULT_COMPACT_ENTRIES = 10_000  # of the product; small tables would be behind no cut of the log


async def starts(folder: Path, servers: int, repeats: int, seed: int) -> dict[str, Any]:
    """`servers` with a port each are in the tables. Answers are to one who writes without a pause."""
    rng = Random(seed)
    async with voter_cluster(
        folder / "voters", compact_entries=min(DEFAULT_COMPACT_ENTRIES, max(100, servers // 2))
    ) as cluster:
        leader = await cluster.leader()
        tenant = await leader.order("found")
        await leader.order("load", kind="create", in_flight=FILL_IN_FLIGHT, count=servers, tenant=tenant)
        await cluster.level()
        cold = [await _all_anew(cluster, rng) for _ in range(repeats)]
        restarts = [await _one_anew(cluster, rng) for _ in range(repeats)]
        return {
            "servers": servers,
            "cold_start": {key: spread_ms([one[key] for one in cold]) for key in cold[0]},
            "restart": {key: spread_ms([one[key] for one in restarts]) for key in restarts[0]},
            "newcomer": await _newcomer(cluster),
        }


async def _all_anew(cluster: VoterCluster, rng: Random) -> dict[str, float]:
    """Seconds until a write is answered at one of them: since the first process was ordered, since the last
    one had its mesh, and since the last one had opened its rows."""
    for voter in cluster.voters:
        await voter.end()
    order = list(cluster.voters)
    rng.shuffle(order)
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for voter in order:
            group.create_task(voter.start())
    listening = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for voter in order:
            group.create_task(cluster.reopen(voter))
    opened = time.monotonic()
    answered = await order[0].order("put")
    await cluster.level()
    return {
        "since_order": answered - began,
        "since_listening": answered - listening,
        "since_open": answered - opened,
    }


async def _one_anew(cluster: VoterCluster, rng: Random) -> dict[str, float]:
    """A follower is killed and started again: how long it opens, and until it holds what the leader held."""
    leader = await cluster.leader()
    victim = rng.choice([voter for voter in cluster.voters if voter is not leader])
    await victim.end()
    began = time.monotonic()
    took = await cluster.restart(victim)
    index = (await leader.order("status"))["applied"]
    level = await victim.order("wait_applied", index=index)
    return {"open": took, "level_since_order": level - began}


async def _newcomer(cluster: VoterCluster) -> dict[str, Any]:
    """Becomes a learner and needs a snapshot, for what it lacks is cut off the log. Pauses are the longest
    between two answers to one who writes at the leader, and for as long before with nobody new."""
    leader = await cluster.leader()
    voters = [voter.voter for voter in cluster.voters]
    newcomer = await cluster.add()
    await newcomer.order("open", founders=[])
    async with _pauses(leader) as joining:
        began = time.monotonic()
        await leader.order("change", voters=voters, learners=[newcomer.voter])
        await _has_snapshot(newcomer)
        arrived = time.monotonic()
        index = (await leader.order("status"))["applied"]
        level = await newcomer.order("wait_applied", index=index)
    async with _pauses(leader) as calm:
        await asyncio.sleep(level - began)
    return {
        "snapshot_s": round(arrived - began, 3),
        "level_s": round(level - began, 3),
        "snapshot_mb": round(max(await newcomer.order("snapshots")) / 1e6, 1),
        "longest_pause_ms": round(max(joining) * 1_000, 1),
        "longest_calm_pause_ms": round(max(calm) * 1_000, 1),
    }


@asynccontextmanager
async def _pauses(leader: VoterProcess) -> AsyncIterator[list[float]]:
    """Seconds between two answers, there when the block has ended."""
    pauses: list[float] = []
    await leader.order("begin_writes")
    try:
        yield pauses
    finally:
        answered = await leader.order("end_writes")
        pauses += [after - before for before, after in pairwise(answered)]


async def _has_snapshot(voter: VoterProcess) -> None:
    """It took over one, all of it. Raises TimeoutError: it was given entries instead, or nothing."""
    async with asyncio.timeout(PATIENCE_S):
        while (await voter.order("status"))["log_starts_after"] == 0:
            await asyncio.sleep(LOOK_S)

"""How long no write is answered when the leader dies, falls silent or hands over: ours and etcd's in turn."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from bench import _etcd_cluster as etcd
from bench._etcd_cluster import EtcdCluster
from bench._spread import spread_ms
from bench._voter_cluster import LOOK_S, PATIENCE_S, VoterCluster, VoterProcess, voter_cluster

CALM_S = 0.3  # of writes before and after a hand-over


async def failover(folder: Path, kills: int, seed: int) -> dict[str, Any]:
    """From the leader's death (SIGKILL) or its silence (SIGSTOP) until a write is answered that is proposed a
    moment later at another member, by one who does not give up. "transfer": the longest time between two
    answers to one who writes through the third voter meanwhile; nobody hands etcd's lead over here."""
    rng = Random(seed)
    gone: dict[str, dict[str, list[float]]] = {"voters": {"kill": [], "stop": [], "transfer": [], "calm": []}}
    told: dict[str, Any] = {"kills": kills}
    async with AsyncExitStack() as stack:
        ours = await stack.enter_async_context(voter_cluster(folder / "voters"))
        await (await ours.leader()).order("found")
        peer: EtcdCluster | None = None
        if (why := etcd.why_not()) is None:
            peer = await stack.enter_async_context(etcd.etcd_cluster(folder / "etcd"))
            gone["etcd"] = {"kill": [], "stop": []}
        else:
            told["etcd"] = {"absent": why}
        for _ in range(kills):
            for way in ("kill", "stop"):
                gone["voters"][way].append(await _voters_lose(ours, way, rng))
                if peer is not None:
                    gone["etcd"][way].append(await _etcd_loses(peer, way, rng))
            longest, usual = await _hand_over(ours, rng)
            gone["voters"]["transfer"].append(longest)
            gone["voters"]["calm"].append(usual)
    return told | {
        name: {way: spread_ms(seconds) for way, seconds in ways.items()} for name, ways in gone.items()
    }


async def _voters_lose(cluster: VoterCluster, way: str, rng: Random) -> float:
    leader = await cluster.leader()
    survivors = [voter for voter in cluster.voters if voter is not leader]
    began = time.monotonic()
    leader.signal(signal.SIGKILL if way == "kill" else signal.SIGSTOP)
    answered: float = await rng.choice(survivors).order("put")
    if way == "kill":
        await leader.end()
        await cluster.restart(leader)
    else:
        leader.signal(signal.SIGCONT)
    await _settled(cluster)
    return answered - began


async def _etcd_loses(cluster: EtcdCluster, way: str, rng: Random) -> float:
    leader = await cluster.leader()
    survivors = [member for member in cluster.running if member != leader]
    began = time.monotonic()
    cluster.signal(leader, signal.SIGKILL if way == "kill" else signal.SIGSTOP)
    answered = await cluster.put_until_answered(rng.choice(survivors))
    if way == "kill":
        cluster.end(leader)
        cluster.start(leader)
    else:
        cluster.signal(leader, signal.SIGCONT)
    await cluster.leader()
    return answered - began


async def _hand_over(cluster: VoterCluster, rng: Random) -> tuple[float, float]:
    """The longest time between answers while the lead goes over, and while nothing happens."""
    leader = await cluster.leader()
    others = [voter for voter in cluster.voters if voter is not leader]
    rng.shuffle(others)
    to, writer = others
    await writer.order("begin_writes")
    await asyncio.sleep(CALM_S)
    began = time.monotonic()
    await leader.order("transfer", to=to.voter)
    await _settled(cluster)
    await asyncio.sleep(CALM_S)
    answered: list[float] = await writer.order("end_writes")
    if await cluster.leader() is not to:
        raise RuntimeError("the lead was not handed over")
    gaps = [(after, after - before) for before, after in pairwise(answered)]
    return (
        max((gap for after, gap in gaps if after > began), default=0.0),
        max((gap for after, gap in gaps if after <= began), default=0.0),
    )


async def _settled(cluster: VoterCluster) -> None:
    """One leads, all know that, and hold what it holds."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            leader = await cluster.leader()
            if await _leaders(cluster.running) == {leader.voter}:
                break
            await asyncio.sleep(LOOK_S)
    await cluster.level()


async def _leaders(voters: list[VoterProcess]) -> set[str]:
    return {(await voter.order("status"))["leader"] for voter in voters}

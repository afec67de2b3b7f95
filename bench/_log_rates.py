"""How many commits a second, beside whom: loads of all systems in turn, so that a noisy minute hits all."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import _etcd_cluster as etcd
from bench._log_load import load
from bench._server_creates import Tenant, found
from bench._spread import rate_of, spread_ms
from bench._voter_cluster import VoterCluster, voter_cluster
from fabric.store.postgres import PostgresState
from tests.fixtures import postgres_cluster as postgres

Loaded = dict[str, Any]
Load = Callable[[int], Awaitable[Loaded]]  # so many in flight
WARM_UP_IN_FLIGHT = 8


@dataclass
class _Rates:
    """Of one system with so many in flight."""

    rates: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    beside: list[dict[str, Any]] = field(default_factory=list)

    def take(self, loaded: Loaded) -> None:
        self.rates.append(len(loaded["waits"]) / loaded["took_s"])
        self.waits += loaded["waits"]
        self.beside.append({key: loaded[key] for key in ("voters", "client_cpu") if key in loaded})

    def told(self) -> dict[str, Any]:
        last = self.beside[-1]
        return {"per_s": rate_of(self.rates), "wait_ms": spread_ms(self.waits), **last}


async def _in_turn(systems: dict[str, Load], in_flight: Sequence[int], repeats: int) -> dict[str, Any]:
    rates = {name: {wanted: _Rates() for wanted in in_flight} for name in systems}
    for run in systems.values():
        await run(WARM_UP_IN_FLIGHT)
    for wanted in in_flight:
        for _ in range(repeats):
            for name, run in systems.items():
                rates[name][wanted].take(await run(wanted))
    return {name: {str(wanted): one.told() for wanted, one in each.items()} for name, each in rates.items()}


class _Ours:
    """Loads of a group of voters, proposed in the leader's process."""

    def __init__(self, cluster: VoterCluster, tenant: dict[str, Any], kind: str, seconds: float) -> None:
        self._cluster = cluster
        self._tenant = tenant
        self._kind = kind
        self._seconds = seconds
        self._next = 0

    async def run(self, in_flight: int) -> Loaded:
        leader = await self._cluster.leader()
        footprint = self._cluster.footprint()
        loaded: Loaded = await leader.order(
            "load",
            kind=self._kind,
            in_flight=in_flight,
            seconds=self._seconds,
            tenant=self._tenant,
            first=self._next,
        )
        self._next = loaded["next"]
        loaded["voters"] = footprint()
        await self._cluster.level()  # what followers do late must not slow the next system down
        return loaded


async def commits(folder: Path, in_flight: Sequence[int], repeats: int, seconds: float) -> dict[str, Any]:
    """Writes of 512 bytes of content, one command each. "log only": through a group of voters whose state
    machine does nothing. "one row": the same command folded into the tables, before it is answered."""
    told: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        bare = await stack.enter_async_context(voter_cluster(folder / "bare", log_only=True))
        rows = await stack.enter_async_context(voter_cluster(folder / "rows"))
        await (await rows.leader()).order("found")
        systems: dict[str, Load] = {"log only": _Ours(bare, {}, "put", seconds).run}
        if (why := etcd.why_not()) is None:
            peer = await stack.enter_async_context(etcd.etcd_cluster(folder / "etcd"))
            systems["etcd"] = lambda wanted: peer.load(wanted, seconds)
        else:
            told["etcd"] = {"absent": why}
        systems["one row"] = _Ours(rows, {}, "put", seconds).run
        return told | await _in_turn(systems, in_flight, repeats)


async def creates(folder: Path, in_flight: Sequence[int], repeats: int, seconds: float) -> dict[str, Any]:
    """Servers with a port each: the same commands through three voters, and through one PostgreSQL that waits
    for its disk (`fabric.store.postgres`, proposed in this process)."""
    told: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        voters = await stack.enter_async_context(voter_cluster(folder / "voters"))
        tenant = await (await voters.leader()).order("found")
        systems: dict[str, Load] = {"voters": _Ours(voters, tenant, "create", seconds).run}
        if (why := postgres.why_not()) is None:
            systems["postgresql"] = await stack.enter_async_context(_postgres(seconds))
        else:
            told["postgresql"] = {"absent": why}
        return told | await _in_turn(systems, in_flight, repeats)


async def profile(folder: Path, in_flight: int, kind: str, seconds: float) -> str:
    """Where the leader's processor time goes: its loop's, its log's and its tables' thread's."""
    async with voter_cluster(folder) as cluster:
        leader = await cluster.leader()
        ours = _Ours(cluster, await leader.order("found"), kind, seconds)
        await ours.run(WARM_UP_IN_FLIGHT)
        await leader.order("begin_profile")
        loaded = await ours.run(in_flight)
        told = await leader.order("end_profile")
    count = len(loaded["waits"])
    head = f"{count} commands, {count / loaded['took_s']:.0f} a second while profiled"
    return "\n".join([head, *(f"== {name}\n{text}" for name, text in told.items())])


@asynccontextmanager
async def _postgres(seconds: float) -> AsyncIterator[Load]:
    with postgres.postgres_cluster(is_durable=True) as url:
        state = PostgresState(url)
        await state.open()
        try:
            founded = await found(state)
            tenant = {name: getattr(founded, name) for name in Tenant.__slots__}
            made = 0

            async def run(in_flight: int) -> Loaded:
                nonlocal made
                loaded = await load(
                    state, kind="create", in_flight=in_flight, seconds=seconds, tenant=tenant, first=made
                )
                made = loaded["next"]
                return loaded

            yield run
        finally:
            await state.close()

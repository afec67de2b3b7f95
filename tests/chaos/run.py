"""One run: agents, clients, and rounds of harm. Everything is taken down whatever happens."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random

from fabric.errors import FabricError
from tests.chaos import last_act
from tests.chaos.bed import Bed, any_cloud
from tests.chaos.clients import KEYPAIRS, PUBLIC_KEY, Client, Told
from tests.chaos.follower import NoAnswerError
from tests.chaos.group import Group, Members, Voters, until_whole
from tests.chaos.nemeses import CLOCK, NEMESES, RECOVER, Scene
from tests.chaos.rows import differing, unsound
from tests.chaos.servers import Tenant, wrong_servers
from tests.chaos.verdict import Outcome, judge_names, waits

CLIENTS = 8
NAMES = 40
SERVER_EVERY_S = 2.0
TROUBLE = (FabricError, OSError, TimeoutError, AssertionError, NoAnswerError, subprocess.SubprocessError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`nemeses` take turns for `rounds` rounds, in an order that the seed says; "recover" comes once, at
    the end."""

    nemeses: Sequence[str]
    rounds: int
    every_s: float  # between the beginnings of two rounds, at least
    hold_s: float  # how long harm lasts
    rate: float  # calls a second, of all clients
    seed: int
    engine: str

    @property
    def acts(self) -> tuple[str, ...]:
        """Each nemesis as often as any other, but for one."""
        ordinary = [name for name in self.nemeses if name != RECOVER]
        Random(self.seed).shuffle(ordinary)  # not a secret
        return tuple(ordinary[number % len(ordinary)] for number in range(self.rounds)) if ordinary else ()


def shared_beds(nemeses: Sequence[str], rounds: int | None) -> list[tuple[list[str], int]]:
    """Nemeses that can share a bed, with their rounds of those in all (None: one each). Faked
    clocks cost each agent a lock at every look at the time, and most of a processor between its threads: who
    moves clocks has a bed of its own."""
    ordinary = [name for name in nemeses if name != RECOVER]
    total = len(ordinary) if rounds is None else rounds
    if CLOCK not in ordinary or ordinary == [CLOCK]:
        return [(list(nemeses), total)]
    own = -(-total // len(ordinary))
    return [([name for name in nemeses if name != CLOCK], total - own), ([CLOCK], own)]


@dataclass
class Crowd:
    """All who use the fabric."""

    told: Told
    tenant: Tenant
    given_up: threading.Event  # nobody has to be answered any more


def run(bed: Bed, plan: Plan, say: Callable[[str], None]) -> Outcome:
    """`bed` is up. Raises TimeoutError when it is not whole before harm begins, and what filling it
    raises."""
    has_voters = plan.engine == "embedded"
    group: Group = Voters(bed) if has_voters else Members(bed)
    until_whole(group)
    scene = Scene(bed, group, Random(plan.seed), say, plan.hold_s)
    survivor = ""
    with _crowd(bed, plan.rate) as crowd:
        cut_short = _act(scene, plan, say)
        if RECOVER in plan.nemeses and not cut_short:
            scene.hold()  # so that there is something to lose
            survivor = last_act.lose_all_but_one(scene)
            scene.hold()
            crowd.given_up.set()
    if survivor:
        kept = last_act.recover(scene, survivor)
        return _judge(plan, crowd, bed, scene, "", kept=kept, survivor=survivor)
    return _judge(plan, crowd, bed, scene, cut_short)


def _act(scene: Scene, plan: Plan, say: Callable[[str], None]) -> str:
    """Why it could not go on; "" when it could."""
    for number, name in enumerate(plan.acts):
        began = time.monotonic()
        try:
            NEMESES[name].strike(scene)
            until_whole(scene.group)
        except TROUBLE as error:
            say(f"round {number + 1} ({name}): {type(error).__name__}: {error}")
            return f"round {number + 1}, {name}: {error}"
        if scene.bed.faults is not None:
            scene.bed.faults.disk_may_end_nobody()
        say(f"round {number + 1} ({name}): all are whole after {time.monotonic() - began:.1f} s")
        time.sleep(max(0.0, began + plan.every_s - time.monotonic()))
    return ""


@contextmanager
def _crowd(bed: Bed, rate: float) -> Iterator[Crowd]:
    """They have all ended afterwards."""
    told, stop, given_up = Told(), threading.Event(), threading.Event()
    tenant = Tenant(bed.urls, bed.password(), stop, given_up=given_up, every_s=SERVER_EVERY_S)
    tenant.prepare(any_cloud(bed), PUBLIC_KEY)
    clients = [
        Client(
            number, bed.urls, bed.password(), told, stop, given_up=given_up, names=NAMES, rate=rate / CLIENTS
        )
        for number in range(CLIENTS)
    ]
    crowd = [*clients, tenant]
    for each in crowd:
        each.start()
    try:
        yield Crowd(told, tenant, given_up)
    finally:
        stop.set()
        for each in crowd:
            each.join()


def _judge(
    plan: Plan,
    crowd: Crowd,
    bed: Bed,
    scene: Scene,
    cut_short: str,
    *,
    kept: int | None = None,
    survivor: str = "",
) -> Outcome:
    told, tenant = crowd.told, crowd.tenant
    cloud = last_act.cloud_of(scene, survivor) if survivor else any_cloud(bed)
    now = time.monotonic()
    there = {row["keypair"]["name"] for row in cloud.get(f"{KEYPAIRS}?limit=1000")["keypairs"]}
    names = judge_names(told.heard, there, now, kept=kept)
    wrong = [*names.wrong, *bed.ended(), *wrong_servers(cloud, tenant, kept=kept)]
    if not cut_short and not survivor and plan.engine == "embedded":
        wrong += differing(bed)
        wrong += unsound(bed)
    median_s, worst_s = waits(told)
    return Outcome(
        engine=plan.engine,
        seed=plan.seed,
        acts=(*plan.acts, *((RECOVER,) if survivor else ())),
        cut_short=cut_short,
        calls=len(told.waits_s),
        unknown=sum(each.is_unknown for each in told.heard),
        lost_by_leave=names.lost_by_leave,
        failed=(*told.failed, *tenant.failed),
        finding=names.finding,
        wrong=tuple(wrong),
        servers=len(tenant.there) + len(tenant.deleted),
        wait_median_s=median_s,
        wait_worst_s=worst_s,
    )

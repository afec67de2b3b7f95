"""What strikes a simulated fabric. Each strike mends itself after a while, or is mended by peace."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import Random
from typing import TYPE_CHECKING

from drivers.contract import Power
from fabric.core.membership.model import MemberState
from proto.commands.nodes import HostUpdate
from proto.ids import RequestId
from tests.sim.control_nodes import Host, SimNode
from tests.sim.stepped_state import CrashPoint

if TYPE_CHECKING:
    from tests.sim.control_world import ControlWorld

TROUBLE_S = 60.0
BETWEEN_S = 1.5  # strikes, on average


class Faults:
    def __init__(self, world: ControlWorld, rng: Random) -> None:
        self._world = world
        self._rng = rng
        self.struck: Counter[str] = Counter()

    async def run(self) -> None:
        rng, loop = self._rng, asyncio.get_running_loop()
        strikes: tuple[tuple[str, int, Callable[[Random], Awaitable[None]]], ...] = (
            ("a host side is killed", 4, self._kill_host),
            ("a host side is restarted", 1, self._restart_host),
            ("a host loses power", 1, self._power_cut),
            ("the conductor crashes", 3, self._crash_conductor),
            ("the conductor is restarted", 1, self._restart_conductor),
            ("frames are lost", 2, self._lose_frames),
            ("a link is cut", 2, self._cut_link),
            ("a driver fails", 3, self._fail_driver),
            ("the wall clock jumps", 1, self._jump_clock),
            ("a guest moves by itself", 2, self._move_guest),
            ("a host is thought dead", 1, self._suspect_host),
            ("a host is disabled or enabled", 1, self._switch_host),
        )
        names = [name for name, weight, _ in strikes for _ in range(weight)]
        actions = {name: action for name, _, action in strikes}
        async with asyncio.TaskGroup() as group:
            while loop.time() < TROUBLE_S:
                await asyncio.sleep(rng.expovariate(1 / BETWEEN_S))
                name = rng.choice(names)
                self.struck[name] += 1
                group.create_task(actions[name](Random(rng.random())))

    def _some_host(self, rng: Random) -> Host | None:
        running = [host for host in self._world.hosts if host.process is not None and host.side is not None]
        return rng.choice(running) if running else None

    async def _kill_host(self, rng: Random, *, lose_power: bool = False) -> None:
        host = self._some_host(rng)
        if host is None:
            return
        self._world.kill(host)
        self._world.tell(f"{host.name} {'loses power' if lose_power else 'is killed'}")
        if lose_power:
            host.driver().host_loses_power()
            host.is_off = True
        self._world.believe_later(host, MemberState.HOST_DOWN if lose_power else MemberState.AGENT_DOWN, 1.5)
        await asyncio.sleep(rng.choice((0.1, 1.0, 5.0, 20.0)) * rng.random())
        await self._world.start(host)

    async def _power_cut(self, rng: Random) -> None:
        await self._kill_host(rng, lose_power=True)

    async def _restart_host(self, rng: Random) -> None:
        host = self._some_host(rng)
        if host is None:
            return
        self._world.tell(f"{host.name} stops")
        await host.stop()
        await self._world.start(host)

    async def _crash_conductor(self, rng: Random) -> None:
        """In the middle of the next write, or at once when none comes."""
        state = self._world.conductor.state
        if state is None or state.crash_at is not None:
            return
        state.crash_at = rng.choice(list(CrashPoint))
        self._world.tell(f"conductor is to crash: {state.crash_at}")
        await asyncio.sleep(3.0)
        if self._world.conductor.state is state:
            self._world.conductor_crashed()
        await asyncio.sleep(rng.choice((0.1, 2.0, 10.0)) * rng.random())
        await self._world.start(self._world.conductor)

    async def _restart_conductor(self, rng: Random) -> None:
        if self._world.conductor.state is None or self._world.conductor.state.crash_at is not None:
            return
        self._world.tell("conductor stops")
        await self._world.conductor.stop()
        await asyncio.sleep(rng.uniform(0.0, 3.0))
        await self._world.start(self._world.conductor)

    async def _lose_frames(self, rng: Random) -> None:
        self._world.network.loss = rng.choice((0.05, 0.3, 0.7))
        self._world.tell(f"frames are lost: {self._world.network.loss}")
        await asyncio.sleep(rng.uniform(1.0, 10.0))
        self._world.network.loss = 0.0

    async def _cut_link(self, rng: Random) -> None:
        host = self._some_host(rng)
        if host is None or self._world.conductor.process is None:
            return
        one, other = host.transport.endpoint, self._world.conductor.transport.endpoint
        self._world.tell(f"{host.name} is cut off")
        self._world.network.cut(one, other)
        await asyncio.sleep(rng.uniform(0.5, 25.0))
        self._world.network.splice(one, other)

    async def _fail_driver(self, rng: Random) -> None:
        host = rng.choice(self._world.hosts)
        verbs = ("ensure_running", "ensure_stopped", "reboot", "ensure_absent", "list_domains")
        verb, times = rng.choice(verbs), rng.randint(1, 4)
        host.faults.failures[verb] += times
        self._world.tell(f"{host.name} will fail {times} x {verb}")

    async def _jump_clock(self, rng: Random) -> None:
        node: SimNode = rng.choice([self._world.conductor, self._world.conductor, *self._world.hosts])
        node.clock.skew_ms += rng.randint(-30_000, 30_000)
        self._world.tell(f"{node.name}'s wall clock is off by {node.clock.skew_ms} ms")

    async def _move_guest(self, rng: Random) -> None:
        host = rng.choice(self._world.hosts)
        driver = host.driver()
        running = [guest.server_id for guest in await host.guests() if guest.power is Power.RUNNING]
        if running:
            (driver.guest_powers_off if rng.random() < 0.5 else driver.guest_crashes)(rng.choice(running))
            self._world.tell(f"a guest of {host.name} ends by itself")

    async def _suspect_host(self, rng: Random) -> None:
        host = rng.choice(self._world.hosts)
        self._world.believe_later(host, MemberState.HOST_DOWN, 0.0)
        await asyncio.sleep(rng.uniform(1.0, 8.0))
        if host.process is not None:
            self._world.believe_later(host, MemberState.ALIVE, 0.0)

    async def _switch_host(self, rng: Random) -> None:
        host, enabled = rng.choice(self._world.hosts), rng.random() < 0.6
        request_id = RequestId(f"switch-{rng.random()}")
        await self._world.do(HostUpdate(host_id=host.node_id, enabled=enabled), request_id)

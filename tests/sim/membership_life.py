"""One seed's whole life: all that can befall a fabric befalls it, in random order, and then comes peace."""

from __future__ import annotations

from collections.abc import Callable

from fabric.core.membership.events import LeaveRequested, LocalChanged, PeerAdmitted
from fabric.core.membership.model import Capacity
from tests.sim.membership_checks import nobody_was_wronged, whole_and_right
from tests.sim.membership_faults import FrameFaults
from tests.sim.membership_node import Pulse
from tests.sim.membership_scenes import names, settled
from tests.sim.membership_time import NEVER_MS
from tests.sim.membership_world import BLAME_GRACE_MS, World

TROUBLES = 40
NODES = (4, 16)
PEACE_MS = 90_000  # for everybody to find everybody again
REST_MS = 40_000


class Life:
    def __init__(self, seed: int, *, traced: bool = False, told: bool = False) -> None:
        count = 4 + seed % (NODES[1] - NODES[0] + 1)
        self.world = settled(count, seed, traced=traced)
        self.world.story.is_printed = told
        self._backups = {machine: self.world.nodes[machine].disk for machine in names(count)}
        self._newcomers = 0
        self._number = 0
        self._troubles: tuple[Callable[[], None], ...] = (
            self._crash,
            self._crash,
            self._power_off,
            self._start,
            self._start,
            self._start,
            self._leave,
            self._stop,
            self._hold,
            self._suspend,
            self._unplug,
            self._cut,
            self._split,
            self._heal,
            self._spoil,
            self._speak,
            self._speak,
            self._join,
            self._wedge,
            self._slow,
        )

    def live(self) -> World:
        """Raises AssertionError."""
        world = self.world
        for _ in range(TROUBLES):
            world.rng.choice(self._troubles)()
            world.run(world.rng.choice([1, 50, 500, 2_000, 6_000, 12_000]))
        nobody_was_wronged(world)
        self._make_peace()
        world.run_until(world.is_at_rest, within_ms=PEACE_MS, step_ms=100)
        world.run(REST_MS)  # diagnoses of the dead agree, too
        whole_and_right(world)
        return world

    def _make_peace(self) -> None:
        world = self.world
        world.network.faults = None
        self._heal()
        for machine, node in world.nodes.items():
            world.slow_down(machine, 0)
            for link in node.links.values():
                link.is_wedged = False
            if node.core is None:
                continue
            if node.pulse is not Pulse.RUNNING:
                world.resume(machine)
            if machine in world.network.silent:
                world.plug_in(machine)
        # Whoever knew a newcomer may be dead: the conductor's log remembers (`fabric.runtime.readmission`).
        conductor = world.running()[0]
        for node in world.running()[1:]:
            world.tell(conductor, PeerAdmitted(node.running.own_state))

    def _someone(self, *, runs: bool) -> str | None:
        """One that runs, or one that does not."""
        fit = [
            machine
            for machine, node in self.world.nodes.items()
            if (node.core is not None) is runs and node.pulse is Pulse.RUNNING
        ]
        return self.world.rng.choice(fit) if fit else None

    def _crash(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None and len(self.world.running()) > 2:
            self.world.crash(machine)

    def _power_off(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None and len(self.world.running()) > 2:
            self.world.power_off(machine)

    def _start(self) -> None:
        world, machine = self.world, self._someone(runs=False)
        if machine is not None:
            if world.rng.random() < 0.15:
                world.restore(machine, self._backups.get(machine, world.nodes[machine].disk))
            world.start(machine, port=world.rng.choice([7_000, 7_001]))

    def _leave(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None and len(self.world.running()) > 2:
            node = self.world.nodes[machine]
            self.world.tell(node, LeaveRequested(for_good=self.world.rng.random() < 0.5))
            self.world.run(50)
            self.world.crash(machine)

    def _stop(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None:
            self.world.nodes[machine].blameless_from_ms = NEVER_MS
            self.world.stop(machine, self.world.rng.choice([300, 2_000, 8_000, 60_000]))

    def _hold(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None:
            self.world.nodes[machine].blameless_from_ms = NEVER_MS  # amid other trouble it cannot refute
            self.world.hold(machine, self.world.rng.choice([100, 1_000, 8_000]))

    def _suspend(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None and machine not in self.world.network.silent:
            runs = self.world.rng.random() < 0.5
            self.world.suspend(machine, self.world.rng.choice([2_000, 30_000]), clock_runs=runs)

    def _unplug(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None:
            if machine in self.world.network.silent:
                self.world.plug_in(machine)
            else:
                self.world.unplug(machine)

    def _cut(self) -> None:
        one, other = self.world.rng.sample(list(self.world.nodes), 2)
        self.world.cut(one, other)
        # Enough of these together are a split nobody drew: they excuse both.
        for machine in (one, other):
            self.world.nodes[machine].is_half_deaf = True

    def _split(self) -> None:
        self._heal()
        machines = list(self.world.nodes)
        self.world.split(self.world.rng.sample(machines, self.world.rng.randrange(1, len(machines))))

    def _heal(self) -> None:
        """The other side's verdicts, seconds old, meet those they are about: dedicated scenarios look
        closer."""
        self.world.heal()
        self.world.nobody_is_blamed_until_ms = self.world.now_ms + BLAME_GRACE_MS
        for node in self.world.nodes.values():
            node.is_half_deaf = any(link.is_wedged for link in (*node.links.values(), *node.inbound))

    def _spoil(self) -> None:
        rng = self.world.rng
        faults = [
            None,
            FrameFaults(loss=rng.uniform(0, 0.2)),
            FrameFaults(duplicates=0.3, delay_ms=(1, 300), keeps_order=False),
            FrameFaults(flipped=0.02, truncated=0.02, oversized=0.01, unknown_version=0.01),
        ]
        self.world.network.faults = rng.choice(faults)

    def _speak(self) -> None:
        machine = self._someone(runs=True)
        self._number += 1
        if machine is not None:
            load = Capacity(vcpus=8, vcpus_used=self._number % 8, servers=self._number)
            change = LocalChanged(capacity=load, labels={"number": str(self._number)})
            self.world.tell(self.world.nodes[machine], change)

    def _join(self) -> None:
        door = self._someone(runs=True)
        if door is not None and door not in self.world.network.silent and self._newcomers < 4:
            self._newcomers += 1
            self.world.join(f"late{self._newcomers}", through=door)

    def _wedge(self) -> None:
        machine = self._someone(runs=True)
        links = [] if machine is None else list(self.world.nodes[machine].links.values())
        if links:
            link = self.world.rng.choice(links)
            link.is_wedged = link.owner.is_half_deaf = link.peer.is_half_deaf = True

    def _slow(self) -> None:
        machine = self._someone(runs=True)
        if machine is not None:
            self.world.slow_down(machine, self.world.rng.choice([0, 5, 20]))

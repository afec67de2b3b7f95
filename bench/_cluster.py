"""A cluster of agents, one a machine: what a scenario may do to it, whoever's agents they are."""

from __future__ import annotations

import contextlib
import os
import signal
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench._knowledge import Fact, Kind, Knowledge, everyone
from bench._star import Star

UP_TIMEOUT_S = 180.0
SETTLE_TIMEOUT_S = 240.0  # Serf repairs a lost join after minutes


class Cluster(ABC):
    """Machines 0..size-1 of `star`; machine 0 is the one others are told of. Nothing runs before `start`."""

    name: str
    can_publish = True
    joins_by_itself = False  # as soon as it starts: nobody can tell when it was up

    def __init__(self, star: Star, size: int, folder: Path) -> None:
        assert size <= star.count
        self.star = star
        self.size = size
        self.folder = folder
        self.knowledge = Knowledge()
        self.pids: dict[int, int] = {}  # of those that run

    # -- what differs

    @abstractmethod
    def spawn(self, machines: Sequence[int]) -> None:
        """Starts their processes. Each says UP when it is ready to take part and waits for `join`."""

    @abstractmethod
    def join(self, machines: Sequence[int]) -> None:
        """All of them at once: become members, knowing an address of one that is there."""

    @abstractmethod
    def end(self, machine: int) -> None:
        """Reaps a process that was killed."""

    @abstractmethod
    def publish(self, machine: int, token: str, size: int) -> None:
        """That agent tells all others one record of about `size` bytes that holds `token`."""

    # -- what does not

    @property
    def machines(self) -> range:
        return range(self.size)

    @property
    def running(self) -> list[int]:
        return sorted(self.pids)

    def start(self, machines: Sequence[int]) -> None:
        """Their processes are up when this returns."""
        expected = self.knowledge.expect([Fact(machine, Kind.UP) for machine in machines])
        self.spawn(machines)
        self.knowledge.wait(expected, UP_TIMEOUT_S)
        if expected.outstanding:
            late = sorted(fact.observer for fact in expected.outstanding)
            words = "\n".join(self.knowledge.last_lines[late[0]])
            raise RuntimeError(f"{self.name}: agents {late} did not come up; the last words of one:\n{words}")

    def begin(self) -> None:
        """All run and know one another when this returns."""
        self.start(self.machines)
        self.join(self.machines)
        self.settle()

    def settle(self) -> None:
        """Everybody who runs knows that everybody who runs is alive."""
        if not self.knowledge.settle(everyone(self.running, Kind.ALIVE, self.running), SETTLE_TIMEOUT_S):
            raise RuntimeError(f"{self.name}: the cluster of {self.size} never agreed that all are alive")

    def kill(self, machines: Iterable[int]) -> None:
        """`kill -9`, all in one go."""
        machines = tuple(machines)
        for machine in machines:
            os.kill(self.pids[machine], signal.SIGKILL)
        for machine in machines:
            del self.pids[machine]
            self.end(machine)

    def freeze(self, machine: int) -> None:
        os.kill(self.pids[machine], signal.SIGSTOP)

    def thaw(self, machine: int) -> None:
        os.kill(self.pids[machine], signal.SIGCONT)

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.kill(self.running)
        self.knowledge.close()


@contextmanager
def closing(cluster: Cluster) -> Iterator[Cluster]:
    try:
        yield cluster
    finally:
        cluster.close()

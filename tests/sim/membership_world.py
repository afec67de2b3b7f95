"""A fabric of membership cores under virtual time: the real core and codec; clocks, links and disks are not.

One seed reproduces everything. `membership_network.py` says what links do, `membership_node.py` what a
process and its machine are, `membership_checks.py` what must hold.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from random import Random

from fabric.core.membership import record
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import (
    AdmitPeer,
    Broadcast,
    Effect,
    Event,
    ExpelPeer,
    Knock,
    Notify,
    PeerAdmitted,
    Persist,
    PinLinks,
    Quarantine,
    RaiseEpoch,
    Refused,
    Send,
    Started,
    Woke,
)
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import DOWN_STATES, Member, MemberState
from fabric.core.membership.record import sign_record
from proto.ids import NodeId
from proto.membership import NodeState, Presence, State
from tests.sim.membership_network import Link, Network
from tests.sim.membership_node import Disk, Pulse, SimNode
from tests.sim.membership_time import NEVER_MS, Schedule
from tests.sim.membership_trace import Story, Trace

WOKE = Woke()


def _remember_readings() -> None:
    """Reading a state is a pure function and the larger part of a mass join's cost; 500 nodes in one process
    need not do it 500 times."""
    remembering = lru_cache(maxsize=65_536)(record.read_state)
    for name, module in list(sys.modules.items()):
        if name.startswith("fabric.core.membership") and hasattr(module, "read_state"):
            module.read_state = remembering  # type: ignore[attr-defined]


_remember_readings()

CLOCK_SPREAD_MS = 10 * 24 * 3_600_000  # machines booted at some time in the last ten days
SPINS_MAX = 1_000  # wake-ups at one millisecond; more is a core that never sleeps
JOIN_STATES_MAX = 64  # of its own table, what a door tells a newcomer
BLAME_GRACE_MS = 3_000  # after trouble, this long verdicts about it may still arrive


class World:
    def __init__(self, seed: int, *, config: MembershipConfig | None = None, traced: bool = False) -> None:
        self.seed = seed
        self.rng = Random(seed)
        self.config = config or MembershipConfig()
        self.schedule = Schedule()
        self.story = Story()
        self.trace = Trace() if traced else None
        self.network = Network(self.schedule, Random(f"{seed}/network"), self, self.story)
        self.network.trace = self.trace
        self.nodes: dict[str, SimNode] = {}  # by machine
        self.names: dict[NodeId, str] = {}
        self.sides: dict[str, int] = {}  # of a split, by machine; empty: none
        self.healed: deque[tuple[int, dict[str, int]]] = deque(
            maxlen=8
        )  # splits that are over, and since when
        self.nobody_is_blamed_until_ms = 0
        self.wrongs: list[str] = []  # broken invariants, noticed when they broke
        self.downs = 0  # DOWN verdicts heard by somebody, right ones included
        self.is_watched = True  # False where a test makes DOWN verdicts on purpose
        self._performers: dict[type, Callable[[SimNode, Effect], None]] = {  # a hot path
            AdmitPeer: self._admit,
            ExpelPeer: self._expel,
            PinLinks: self._pin,
            Send: self._send,
            Broadcast: self._broadcast,
            Knock: self._knock,
            Notify: self._notify,
            Persist: self._persist,
            RaiseEpoch: self._raise_epoch,
            Refused: self._refuse,
            Quarantine: self._quarantine,
        }

    @property
    def now_ms(self) -> int:
        return self.schedule.now_ms

    # ---- processes

    def node(self, machine: str, *, identity: str | None = None) -> SimNode:
        """The machine of that name, made when it is new."""
        node = self.nodes.get(machine)
        if node is None:
            clock_ms = self.rng.randrange(CLOCK_SPREAD_MS)
            node = self.nodes[machine] = SimNode(machine, identity=identity, clock_ms=clock_ms)
            self.names.setdefault(node.node_id, node.name)
        return node

    def boot(self, machine: str, *, identity: str | None = None, port: int | None = None) -> SimNode:
        """A process starts and has said nothing yet."""
        node = self.node(machine, identity=identity)
        assert node.core is None, f"{machine} runs already"
        node.port = port or node.port
        node.disk = replace(node.disk, epoch=node.disk.epoch + 1)
        node.life += 1
        node.pulse, node.is_blocked, node.is_woken, node.quarantined = Pulse.RUNNING, False, False, ""
        node.inbox.clear()
        node.view, node.buried = {}, set()
        node.armed_ms = NEVER_MS
        rng = Random(f"{self.seed}/{machine}/{node.life}")
        node.core = Membership(node.first_record(self.now_ms), self.config, rng, node.trust)
        self.network.started(node)
        return node

    def start(
        self,
        machine: str,
        *,
        known: Iterable[NodeState] = (),
        identity: str | None = None,
        port: int | None = None,
    ) -> SimNode:
        """A process starts over what its disk remembers, and what it is told besides."""
        node = self.boot(machine, identity=identity, port=port)
        self._tell_story(f"{machine} starts, epoch {node.disk.epoch}")
        self._started(node, known)
        return node

    def _started(self, node: SimNode, known: Iterable[NodeState]) -> None:
        states = tuple(dict.fromkeys((*node.disk.states, *known)))
        node.disk = Disk(node.disk.epoch, states, node.disk.removals)
        node.blameless_from_ms = self.now_ms + BLAME_GRACE_MS
        self.tell(node, Started(known=states, removals=node.disk.removals))

    def settle(self, machines: Sequence[str]) -> None:
        """All start at once and know each other from an earlier life, as after a power cut."""
        before = []
        for machine in machines:
            node = self.node(machine)
            node.disk = Disk(epoch=1)
            before.append(sign_record(node.first_record(self.now_ms), node.trust.sign).state)
        for machine in machines:
            self.nodes[machine].disk = Disk(epoch=1, states=tuple(before))
            self._started(self.boot(machine), ())

    def join(self, machine: str, *, through: str) -> SimNode:
        """The door's answer, then the start: what `fabric.runtime.join` does."""
        door = self.nodes[through].running
        told = (door.own_state, *door.states()[: JOIN_STATES_MAX - 1])
        node = self.boot(machine)
        if self.sides:
            self._take_side(machine, self.sides.get(through, 0))
        self._tell_story(f"{machine} joins through {through}")
        self.tell(self.nodes[through], PeerAdmitted(node.running.own_state))
        self._started(node, told)
        return node

    def crash(self, machine: str) -> None:
        """kill -9: the machine's kernel says so to everybody."""
        node = self.nodes[machine]
        self._tell_story(f"{machine} is killed")
        node.core = None
        node.life += 1
        node.pulse, node.is_blocked, node.is_woken = Pulse.RUNNING, False, False
        node.inbox.clear()
        node.armed_ms = node.blameless_from_ms = NEVER_MS
        self.network.ended(node)

    def power_off(self, machine: str) -> None:
        """The whole machine is gone, its agent perhaps before: not even a refusal comes from it."""
        self.network.silent.add(machine)
        self.nodes[machine].blameless_from_ms = NEVER_MS
        if self.nodes[machine].core is not None:
            self.crash(machine)
        self._tell_story(f"{machine} has no power")

    def wipe(self, machine: str) -> None:
        """A new disk: epoch, peers and removals are forgotten; its keys came back from a backup."""
        self.restore(machine, Disk())

    def restore(self, machine: str, backup: Disk) -> None:
        assert self.nodes[machine].core is None
        self.nodes[machine].disk = backup

    def restore_new(self, machine: str, disk: Disk, *, identity: str | None = None) -> None:
        """A machine nobody knows, with a disk somebody prepared."""
        self.node(machine, identity=identity).disk = disk

    def rotate(self, machine: str, *, through: str) -> None:
        """What `fabric.runtime.rotation` does: the conductor tells the first word under the new keys,
        which is that the node restarts, and it begins anew with them."""
        node = self.nodes[machine]
        node.generation += 1
        node.disk = replace(node.disk, epoch=node.disk.epoch + 1)
        word = replace(node.first_record(self.now_ms), version=0)
        state = sign_record(word, node.trust.sign, presence=Presence.LEAVING).state
        self._tell_story(f"{machine} rotates its keys")
        self.tell(self.nodes[through], PeerAdmitted(state))
        self.crash(machine)
        self.run(100)
        self.start(machine)

    # ---- pauses

    def stop(self, machine: str, for_ms: int) -> None:
        """SIGSTOP, and SIGCONT later."""
        self._pause(machine, Pulse.STOPPED, for_ms)

    def hold(self, machine: str, for_ms: int) -> None:
        """Something keeps the GIL: ZeroMQ's heartbeats are still answered."""
        self._pause(machine, Pulse.HELD, for_ms)

    def suspend(self, machine: str, for_ms: int, *, clock_runs: bool) -> None:
        """The machine, a guest itself, is suspended: silent meanwhile. With `clock_runs` its monotonic clock
        jumps when it resumes, else it lost that time."""
        node = self.nodes[machine]
        self.network.silent.add(machine)
        node.blameless_from_ms = NEVER_MS
        self._pause(machine, Pulse.STOPPED, for_ms)

        def resume(_argument: None) -> None:
            self.network.silent.discard(machine)
            node.blameless_from_ms = self.now_ms + BLAME_GRACE_MS
            if not clock_runs:
                node.clock_ms -= for_ms
                node.armed_ms = NEVER_MS
                node.is_woken = True  # early is harmless: it asks again

        # One order for one millisecond: this comes before the process goes on.
        self.schedule.at(self.now_ms + for_ms - 1, resume)

    def _pause(self, machine: str, pulse: Pulse, for_ms: int) -> None:
        node = self.nodes[machine]
        assert node.core is not None
        self._tell_story(f"{machine} is {pulse.value} for {for_ms} ms")
        node.pulse, node.is_blocked = pulse, True
        node.stops += 1
        node.absent_ms, node.back_ms = self.now_ms, self.now_ms + for_ms
        self.network.changed([node])
        self.schedule.after(for_ms, self._resume, (node, node.life, node.stops))

    def resume(self, machine: str) -> None:
        """Ends a pause before its time."""
        node = self.nodes[machine]
        if node.core is not None and node.pulse is not Pulse.RUNNING:
            node.back_ms = self.now_ms
            self._resume((node, node.life, node.stops))

    def _resume(self, planned: tuple[SimNode, int, int]) -> None:
        node, life, stops = planned
        if (node.life, node.stops) != (life, stops):
            return
        self._tell_story(f"{node.machine} goes on")
        if node.machine not in self.network.silent:
            node.blameless_from_ms = min(node.blameless_from_ms, self.now_ms + BLAME_GRACE_MS)
        node.pulse = Pulse.RUNNING
        self.network.changed([node])
        self._read_on((node, life))

    def slow_down(self, machine: str, cost_ms: int, *, learn_ms: int = 0) -> None:
        """Every event takes that long from now on, and longer for each member it makes known. 0: as usual."""
        node = self.nodes[machine]
        node.cost_ms, node.learn_ms = cost_ms, learn_ms

    def _read_on(self, planned: tuple[SimNode, int]) -> None:
        """What waited, in order; the timer first or last, as the event loop happens to look."""
        node, life = planned
        if node.life != life or node.pulse is not Pulse.RUNNING:
            return
        node.is_blocked = False
        if node.is_woken and (not node.inbox or self.rng.random() < 0.5):
            node.is_woken = False
            self.tell(node, WOKE)
        while node.inbox and not node.is_blocked:
            link, event = node.inbox.popleft()
            if link is not None:
                link.waiting -= 1
            self._handle(node, event)
        if node.is_woken and not node.is_blocked:
            node.is_woken = False
            self._handle(node, WOKE)
        if node.handshakes and not node.is_blocked:
            self.network.resumed(node)

    # ---- cables

    def unplug(self, machine: str) -> None:
        """Its cable is out; the process runs on."""
        self._tell_story(f"{machine} is unplugged")
        self.network.silent.add(machine)
        self.nodes[machine].blameless_from_ms = NEVER_MS
        self.network.changed([self.nodes[machine]])

    def plug_in(self, machine: str) -> None:
        self._tell_story(f"{machine} is plugged in")
        self.network.silent.discard(machine)
        self.nodes[machine].blameless_from_ms = self.now_ms + BLAME_GRACE_MS
        self.network.changed([self.nodes[machine]])

    def cut(self, source: str, target: str) -> None:
        """Links from `source` to `target` carry nothing; those the other way do."""
        self._tell_story(f"{source} -> {target} is cut")
        self.network.cuts.add((source, target))
        self.network.changed([self.nodes[source], self.nodes[target]])

    def cut_both(self, one: str, other: str) -> None:
        self.cut(one, other)
        self.cut(other, one)

    def split(self, *sides: Iterable[str]) -> None:
        """Who is on no side is on one of their own together. Replaces earlier cuts."""
        self.heal()
        self.sides = {machine: number for number, side in enumerate(sides, 1) for machine in side}
        self._tell_story(f"the network splits: {self.sides}")
        for machine in self.nodes:
            self._take_side(machine, self.sides.get(machine, 0))
        self.network.changed(self.nodes.values())

    def _take_side(self, machine: str, side: int) -> None:
        self.sides[machine] = side
        for other in self.nodes:
            if self.sides.get(other, 0) != side:
                self.network.cuts |= {(machine, other), (other, machine)}

    def heal(self) -> None:
        self._tell_story("all cables are whole")
        self.healed.append((self.now_ms, self.sides))
        self.sides = {}
        self.network.cuts.clear()
        self.network.changed(self.nodes.values())

    # ---- time

    def run(self, for_ms: int) -> None:
        self.schedule.run_to(self.now_ms + for_ms)

    def run_until(self, holds: Callable[[], bool], *, within_ms: int, step_ms: int = 10) -> int:
        """Milliseconds it took, in steps of `step_ms`. Fails when it never held."""
        start_ms = self.now_ms
        while not holds():
            assert self.now_ms - start_ms < within_ms, (
                f"seed {self.seed}: not within {within_ms} ms: {holds.__name__}\n{self.story.tail()}"
            )
            self.run(step_ms)
        return self.now_ms - start_ms

    # ---- events in

    def tell(self, node: SimNode, event: Event, link: Link | None = None) -> None:
        if node.core is None:
            return
        if node.is_blocked:
            node.inbox.append((link, event))
            return
        self._handle(node, event)

    def _handle(self, node: SimNode, event: Event) -> None:
        core = node.core
        if core is None or node.quarantined:
            return
        schedule = self.schedule
        effects = core.handle(event, schedule.now_ms + node.clock_ms)
        if effects:
            trace = self.trace
            for effect in effects:
                if trace is not None:
                    trace.effect(schedule.now_ms, node.machine, effect)
                self._performers[type(effect)](node, effect)
        due_ms = core.due_ms
        if due_ms is not None:
            due_ms -= node.clock_ms
            if due_ms < node.armed_ms:
                node.armed_ms = due_ms = max(due_ms, schedule.now_ms)
                schedule.at(due_ms, self._wake, (node, node.life, due_ms))
        if node.cost_ms:
            cost_ms = node.cost_ms
            if node.learn_ms:
                cost_ms += node.learn_ms * sum(
                    type(effect) is Notify and effect.before is None for effect in effects
                )
            node.is_blocked = True
            schedule.after(cost_ms, self._read_on, (node, node.life))

    def _wake(self, planned: tuple[SimNode, int, int]) -> None:
        node, life, when_ms = planned
        if node.life != life or node.armed_ms != when_ms:
            return
        node.armed_ms = NEVER_MS
        if node.is_blocked:
            node.is_woken = True
            return
        node.spins = node.spins + 1 if node.last_woken_ms == when_ms else 0
        node.last_woken_ms = when_ms
        assert node.spins < SPINS_MAX, f"seed {self.seed}: {node.machine} never sleeps"
        self._handle(node, WOKE)

    # ---- effects out

    def _admit(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, AdmitPeer)
        self.network.admit(node, effect)

    def _expel(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, ExpelPeer)
        self.network.expel(node, effect.node_id)

    def _pin(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, PinLinks)
        self.network.pin(node, effect.node_ids)

    def _send(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, Send)
        self.network.send(node, (effect.to,), effect.message)

    def _broadcast(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, Broadcast)
        self.network.send(node, effect.to, effect.message)

    def _knock(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, Knock)
        self.network.knock(node, effect)

    def _persist(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, Persist)
        node.disk = Disk(node.disk.epoch, effect.states, effect.removals)

    def _raise_epoch(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, RaiseEpoch)
        self._tell_story(f"{node.machine} raises its epoch to {effect.epoch}")
        node.disk = Disk(max(node.disk.epoch, effect.epoch), node.disk.states, node.disk.removals)

    def _refuse(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, Refused)
        node.refused[effect.reason] += 1

    def _quarantine(self, node: SimNode, effect: Effect) -> None:
        """Its agent closes the mesh and stays up to say why."""
        assert isinstance(effect, Quarantine)
        self._tell_story(f"{node.machine} is quarantined: {effect.reason} {effect.endpoint}")
        node.quarantined = effect.reason or "quarantined"
        node.blameless_from_ms = NEVER_MS
        self.network.ended(node)

    def _notify(self, node: SimNode, effect: Effect) -> None:
        assert isinstance(effect, Notify)
        member = effect.member
        subject, state = member.record.node_id, member.state
        before = node.view.get(subject)
        if state is before:
            return
        node.view[subject] = state
        self._tell_story(
            f"{node.machine} sees {member.record.name} {state.value} (was {before and before.value})"
        )
        if state in DOWN_STATES:
            self.downs += 1
            is_watched = self.is_watched and self.now_ms >= self.nobody_is_blamed_until_ms
            if is_watched and subject not in node.buried:
                self._blame(node, member)
            node.buried.add(subject)
        elif state is not MemberState.SUSPECT:
            node.buried.discard(subject)

    def _blame(self, viewer: SimNode, member: Member) -> None:
        """Nobody healthy is down in anybody's eyes, not for a moment."""
        now_ms = self.now_ms
        lives = [n for n in self.nodes.values() if n.node_id == member.record.node_id and n.core is not None]
        for subject in lives:
            if now_ms < subject.blameless_from_ms or member.record.epoch < subject.running.me.epoch:
                continue  # the news of its new life is under way
            if self._were_parted(viewer, subject) or viewer.machine in self.network.silent:
                continue  # nobody can tell a cut from a death, and who is cut off can tell nothing
            if viewer.is_half_deaf or subject.is_half_deaf:
                continue
            is_catching_up = now_ms < viewer.back_ms + BLAME_GRACE_MS
            if is_catching_up and subject.blameless_from_ms > viewer.absent_ms:
                continue  # old news, and true when it was
            wrong = f"{viewer.machine} sees healthy {subject.machine} {member.state.value} at {now_ms} ms"
            self._tell_story(f"WRONG: {wrong}")
            self.wrongs.append(wrong)

    def _were_parted(self, one: SimNode, other: SimNode) -> bool:
        """By a split, now or a moment ago."""
        sides = [self.sides]
        sides += [old for ended_ms, old in self.healed if self.now_ms < ended_ms + BLAME_GRACE_MS]
        return any(side.get(one.machine, 0) != side.get(other.machine, 0) for side in sides)

    def _tell_story(self, text: str) -> None:
        self.story.tell(self.schedule.now_ms, text)

    # ---- what tests ask

    def running(self) -> list[SimNode]:
        return [n for n in self.nodes.values() if n.core is not None and not n.quarantined]

    def sees(self, viewer: str, subject: str) -> MemberState | None:
        return self.nodes[viewer].view.get(self.nodes[subject].node_id)

    def member(self, viewer: str, subject: str) -> Member | None:
        node = self.nodes[viewer]
        return node.running.member(self.nodes[subject].node_id, self.now_ms + node.clock_ms)

    def news_of(self, node: SimNode) -> State:
        """What somebody would relay of it."""
        return State(states=(node.running.own_state,))

    def everyone_sees(self, subject: str, *states: MemberState, but: Iterable[str] = ()) -> bool:
        subject_id, but = self.nodes[subject].node_id, set(but)
        return all(
            node.view.get(subject_id) in states
            for node in self.running()
            if node.node_id != subject_id and node.machine not in but
        )

    def all_alive(self) -> bool:
        """Every running node sees every running node alive."""
        running = self.running()
        ids = [node.node_id for node in running]
        alive = MemberState.ALIVE
        return all(
            node.view.get(node_id) is alive for node in running for node_id in ids if node_id != node.node_id
        )

    def roots_agree(self) -> bool:
        return len({node.running.root for node in self.running()}) <= 1

    def is_at_rest(self) -> bool:
        return self.roots_agree() and self.all_alive()

"""What must hold. Each check raises AssertionError with the seed and the end of the story.

That nobody healthy is DOWN in anybody's eyes, not for a moment, the world notices itself when it happens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from fabric.core.membership.model import DOWN_STATES, GONE_STATES, MemberState
from proto.ids import NodeId
from tests.sim.membership_node import SimNode
from tests.sim.membership_world import World

ON_ITS_WAY_MS = 1_000
STATE_ITEMS_PER_NODE = 40  # that a core may hold for each node of the fabric,
STATE_ITEMS = 4_000  # and beside that: 256 buckets, and timers and counters of its own
OUR_CORE = "fabric.core.membership"


def require(world: World, holds: bool, what: str) -> None:
    assert holds, f"seed {world.seed}, {world.now_ms} ms: {what}\n{world.story.tail()}"


def nobody_was_wronged(world: World) -> None:
    require(world, not world.wrongs, "; ".join(world.wrongs[:5]))


def all_know_the_same(world: World) -> None:
    """But for the word that shapes the broadcast tree now and then: it may just be on its way."""
    if not world.roots_agree():
        world.run_until(world.roots_agree, within_ms=ON_ITS_WAY_MS, step_ms=5)
    require(world, world.roots_agree(), f"roots differ: {roots(world)}")


def everybody_is_alive(world: World, *, but: Iterable[str] = ()) -> None:
    """Every running node sees all running ones, except `but`, alive."""
    wrong = [
        f"{viewer.machine} sees {subject.machine} {viewer.view.get(subject.node_id)}"
        for viewer in world.running()
        for subject in world.running()
        if subject.node_id != viewer.node_id
        and subject.machine not in but
        and viewer.view.get(subject.node_id) is not MemberState.ALIVE
    ]
    require(world, not wrong, "; ".join(wrong[:5]))


def the_gone_are_gone(world: World, *, states: Iterable[MemberState] = GONE_STATES) -> None:
    """Nobody sees a node alive whose process is gone, nor in another state than one of `states`."""
    allowed = {None, *states}
    living = {node.node_id for node in world.running()}
    wrong = [
        f"{viewer.machine} sees {gone.machine} {viewer.view.get(gone.node_id)}"
        for viewer in world.running()
        for gone in world.nodes.values()
        if gone.node_id not in living and viewer.view.get(gone.node_id) not in allowed
    ]
    require(world, not wrong, "; ".join(wrong[:5]))


def notifications_told_everything(world: World) -> None:
    """Who listens to `Notify` only knows what who asks `members` knows."""
    for node in world.running():
        told = {i: s for i, s in node.view.items() if s is not MemberState.FORGOTTEN and i != node.node_id}
        asked = {
            member.record.node_id: member.state
            for member in node.running.members(world.now_ms + node.clock_ms)
            if member.record.node_id != node.node_id and member.state is not MemberState.FORGOTTEN
        }
        differing = {
            world.names[i]: (told.get(i), asked.get(i))
            for i in told.keys() | asked.keys()
            if told.get(i) != asked.get(i)
        }
        require(world, not differing, f"{node.machine} was told, and knows: {differing}")


def overlay_is_one_piece(world: World) -> None:
    """Links that are up both ways connect all running nodes, and nobody has too many."""
    running = {node.node_id: node for node in world.running()}
    reached, waiting = set(), list(running)[:1]
    while waiting:
        node_id = waiting.pop()
        if node_id not in reached:
            reached.add(node_id)
            waiting += [n for n in pinned_up(running[node_id]) if n in running]
    missing = [running[node_id].machine for node_id in running if node_id not in reached]
    require(world, not missing, f"not connected: {missing}")
    crowded = {
        n.machine: len(n.pinned) for n in running.values() if len(n.pinned) > world.config.links_max + 2
    }
    require(world, not crowded, f"too many links: {crowded}")


def pinned_up(node: SimNode) -> list[NodeId]:
    return [link.to for link in node.links.values() if link.is_pinned and link.is_up]


def memory_is_bounded(world: World) -> None:
    """What a core holds grows with the fabric and with nothing else."""
    most = STATE_ITEMS + STATE_ITEMS_PER_NODE * len(world.nodes)
    for node in world.running():
        items = items_held(node.running)
        require(world, items <= most, f"{node.machine} holds {items} items, at most {most}")


def items_held(root: object) -> int:
    """Items in all containers of the core's own objects."""
    seen: set[int] = set()
    waiting: deque[Any] = deque([root])
    count = 0
    while waiting:
        thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, Mapping):
            count += len(thing)
            waiting += thing.values()
        elif isinstance(thing, list | tuple | set | frozenset | deque):
            count += len(thing)
            waiting += thing
        elif type(thing).__module__.startswith(OUR_CORE):
            waiting += attributes_of(thing)
    return count


def attributes_of(thing: object) -> list[object]:
    names = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    found = [getattr(thing, name) for name in names if hasattr(thing, name)]
    return [*found, *getattr(thing, "__dict__", {}).values()]


def roots(world: World) -> dict[str, str]:
    return {node.machine: node.running.root.hex() for node in world.running()}


def whole_and_right(world: World) -> None:
    """At rest, with all cables whole."""
    nobody_was_wronged(world)
    everybody_is_alive(world)
    all_know_the_same(world)
    the_gone_are_gone(world)
    notifications_told_everything(world)
    overlay_is_one_piece(world)
    memory_is_bounded(world)


DOWN = tuple(DOWN_STATES)

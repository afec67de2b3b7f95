"""The broadcast tree: one piece, few copies and few hops, whatever is said on it and whoever dies."""

from __future__ import annotations

import pytest

from fabric.core.membership.events import LocalChanged, Received
from fabric.core.membership.model import Capacity
from proto.membership import Prune
from tests.sim.membership_checks import require
from tests.sim.membership_scenes import names, settled
from tests.sim.membership_world import World
from tests.sim.seeds import few_seeds

COUNT = 40
GROWN_MS = 20_000  # growing ends, and one word has passed
HOPS_MAX = 10  # twice the depth of a tree over 40 nodes of eight links; ways up to two links too long stay
EAGER_MEAN = 2.6  # a tree has 2 edges a node, and leaves keep a second one
MEND_MS = 30_000  # detection, the next lowest one's first word, marks that stay different, one more word


@pytest.mark.parametrize("seed", few_seeds(4))
def test_loads_of_everybody_leave_the_tree_whole(seed: int) -> None:
    """Many sayers prune one another's ways: pruned by all their words, a node reached four others."""
    world = settled(COUNT, seed)
    storm(world, GROWN_MS)
    for _ in range(10):
        storm(world, 2_000)
        require(world, reach(world) == COUNT, "the tree is in pieces")
    require(world, eager_mean(world) <= EAGER_MEAN, f"{eager_mean(world)} eager links a node")
    require(world, depth(world) <= HOPS_MAX, f"{depth(world)} hops")


@pytest.mark.parametrize("seed", few_seeds(4))
def test_a_tree_that_lost_a_quarter_of_its_nodes_is_mended(seed: int) -> None:
    """Among them the one that shapes it."""
    world = settled(COUNT, seed)
    world.run(GROWN_MS)
    shaper = min(world.running(), key=lambda node: node.node_id).machine
    others = [name for name in names(COUNT) if name != shaper]
    for machine in (shaper, *world.rng.sample(others, COUNT // 4 - 1)):
        world.crash(machine)
    world.run(MEND_MS)
    require(world, reach(world) == COUNT - COUNT // 4, "the tree is in pieces")


@pytest.mark.parametrize("seed", few_seeds(4))
def test_a_tree_that_was_cut_is_joined_where_its_pieces_meet(seed: int) -> None:
    """However it came about: one node is made to prune all its links."""
    world = settled(COUNT, seed)
    world.run(GROWN_MS)
    node = world.rng.choice(world.running())
    for other in world.running():
        for link in other.running.links(world.now_ms):
            if node in (other, world.nodes[link.name]):
                world.tell(other, Received(link.node_id, Prune()))
    world.run(MEND_MS)
    require(world, reach(world) == COUNT, "the tree is in pieces")


def storm(world: World, for_ms: int) -> None:
    """Each node's load changes all the time."""
    for tick in range(for_ms // 500):
        for number, node in enumerate(world.running()):
            load = Capacity(vcpus=64, servers=tick * COUNT + number)
            world.tell(node, LocalChanged(capacity=load))
        world.run(500)


def edges(world: World) -> dict[str, set[str]]:
    return {
        node.machine: {link.name for link in node.running.links(world.now_ms) if link.is_eager}
        for node in world.running()
    }


def distances(graph: dict[str, set[str]], start: str) -> dict[str, int]:
    """How many links a word of `start` crosses to each node it reaches."""
    found, layer = {start: 0}, {start}
    while layer:
        layer = {far for near in layer for far in graph[near] if far in graph and far not in found}
        found |= dict.fromkeys(layer, max(found.values()) + 1)
    return found


def reach(world: World) -> int:
    """How many nodes the words of each node reach, of that which reaches fewest."""
    graph = edges(world)
    return min(len(distances(graph, start)) for start in graph)


def depth(world: World) -> int:
    graph = edges(world)
    return max(max(distances(graph, start).values()) for start in graph)


def eager_mean(world: World) -> float:
    graph = edges(world)
    return sum(len(far) for far in graph.values()) / len(graph)

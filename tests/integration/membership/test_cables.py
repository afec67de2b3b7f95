"""What cables do to a mesh of real processes: one way only, in two, and not at all."""

from __future__ import annotations

from bench._knowledge import Fact, Kind
from bench._mesh_cluster import MeshCluster
from fabric.core.membership.model import DOWN_STATES, MemberState
from tests.fixtures.dev_fabric import eventually
from tests.fixtures.netns_fabric import PATIENCE_S, never_seen, until_seen

ALIVE, HOST_DOWN = MemberState.ALIVE, MemberState.HOST_DOWN
LOOKS_S = 8.0  # silence, look and the window of a suspicion, and as much again


def bad_links(mesh: MeshCluster, *machines: int) -> int:
    """How many these gave up because others were reached by them and they were not."""
    reports = mesh.reports()
    return sum(reports[machine].counters.get("links_bad", 0) for machine in machines)


def until_all_are_neighbours(mesh: MeshCluster) -> None:
    """They know each other sooner than that."""
    eventually(lambda: {report.links for report in mesh.reports().values()} == {mesh.size - 1})


def test_a_link_that_carries_one_way_only_is_a_bad_link_and_no_death(mesh: MeshCluster) -> None:
    """Node 1 hears nothing from node 2; everybody else does, so nobody may be called down."""
    until_all_are_neighbours(mesh)
    mesh.star.cut([2], [1])
    eventually(lambda: bad_links(mesh, 1, 2) > 0)
    mesh.knowledge.listen(LOOKS_S)
    assert never_seen(mesh, mesh.machines, *DOWN_STATES)
    mesh.star.mend()
    until_seen(mesh, mesh.machines, ALIVE)


def test_two_that_are_blind_to_each_other_live_on_by_the_word_of_the_rest(mesh: MeshCluster) -> None:
    until_all_are_neighbours(mesh)
    mesh.star.split([1], [2])
    eventually(lambda: bad_links(mesh, 1, 2) > 0)
    mesh.knowledge.listen(LOOKS_S)
    assert never_seen(mesh, mesh.machines, *DOWN_STATES)
    mesh.star.mend()
    until_seen(mesh, mesh.machines, ALIVE)


def test_a_silent_machine_is_host_down_and_comes_back_by_itself(mesh: MeshCluster) -> None:
    mesh.star.silence([4])
    others = [machine for machine in mesh.machines if machine != 4]
    until_seen(mesh, [4], HOST_DOWN, by=others)
    assert never_seen(mesh, others, *DOWN_STATES, by=others)
    mesh.star.mend()
    until_seen(mesh, mesh.machines, ALIVE)


def test_a_split_heals_by_itself_and_both_sides_are_one_again(mesh: MeshCluster) -> None:
    one, other = [0, 1], [2, 3, 4, 5]
    mesh.star.split(one, other)
    until_seen(mesh, one, HOST_DOWN, by=other)
    mesh.star.mend()
    until_seen(mesh, mesh.machines, ALIVE)
    news = mesh.knowledge.expect(Fact(machine, Kind.RECORD, "whole") for machine in mesh.machines if machine)
    mesh.publish(0, "whole", 300)
    mesh.knowledge.wait(news, PATIENCE_S)
    assert news.outstanding == set(), "what one side says reaches the other"

"""Ends and pauses of real processes, and the right word for each."""

from __future__ import annotations

from bench._mesh_cluster import MeshCluster
from fabric.core.membership.model import DOWN_STATES, MemberState
from tests.fixtures.netns_fabric import never_seen, until_seen

ALIVE = MemberState.ALIVE
HOLD_MS = 8_000
AFTERMATH_S = 5.0


def test_a_killed_agent_is_agent_down_and_its_machine_is_not(mesh: MeshCluster) -> None:
    mesh.kill([3])
    until_seen(mesh, [3], MemberState.AGENT_DOWN)
    assert never_seen(mesh, mesh.running, *DOWN_STATES)


def test_a_restarted_agent_is_alive_again_at_once(mesh: MeshCluster) -> None:
    mesh.kill([3])
    until_seen(mesh, [3], MemberState.AGENT_DOWN)
    mesh.start([3])
    mesh.join([3])
    until_seen(mesh, mesh.machines, ALIVE)


def test_a_restart_before_anybody_noticed_leaves_no_trace_of_the_old_life(mesh: MeshCluster) -> None:
    mesh.kill([2])
    mesh.start([2])
    mesh.join([2])
    until_seen(mesh, mesh.machines, ALIVE)
    mesh.knowledge.listen(AFTERMATH_S)  # accusations of the old life would end in a verdict by now
    until_seen(mesh, mesh.machines, ALIVE)


def test_half_of_all_at_once(mesh: MeshCluster) -> None:
    mesh.kill([0, 2, 4])
    until_seen(mesh, [0, 2, 4], MemberState.AGENT_DOWN)
    assert never_seen(mesh, mesh.running, *DOWN_STATES)


def test_a_stopped_agent_is_stalled_and_no_longer_when_it_goes_on(mesh: MeshCluster) -> None:
    mesh.freeze(1)
    others = [machine for machine in mesh.machines if machine != 1]
    until_seen(mesh, [1], MemberState.STALLED, by=others)
    mesh.thaw(1)
    until_seen(mesh, mesh.machines, ALIVE)


def test_an_interpreter_held_for_long_is_never_called_down(mesh: MeshCluster) -> None:
    mesh.order(5, f"stall {HOLD_MS}")
    mesh.knowledge.listen(HOLD_MS / 1_000 + AFTERMATH_S)
    assert mesh.reports()[5].lag_max_ms > HOLD_MS // 2, "it was held indeed"
    assert never_seen(mesh, mesh.machines, *DOWN_STATES)
    until_seen(mesh, mesh.machines, ALIVE)

"""`fabric capacity`: what is offered, and who takes no new servers."""

from __future__ import annotations

import json
from dataclasses import replace

from fabric.core.membership.model import Capacity
from proto.ids import NodeId
from tests.fixtures.local_agent import local_parts
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.unit.cli.asking import Asked, asked, column

__all__ = ["asked"]  # a fixture, used by its name


def test_a_drained_host_is_marked_and_says_why(asked: Asked) -> None:
    host = Capacity(vcpus=4)
    drained = member_named("b", capacity=replace(host, is_draining=True))
    drained = replace(drained, load=replace(drained.load, extra={"drain_reason": "new disk"}))
    with asked.answering(local_parts(MeshDouble([member_named("a", capacity=host), drained]))):
        shown, rows = asked("capacity"), json.loads(asked("capacity", "--json").stdout)
    assert column(shown, "STATE") == ["alive", "alive (draining)"]
    assert [(row["draining"], row["drain_reason"]) for row in rows] == [(False, ""), (True, "new disk")]


def test_a_host_that_just_started_and_said_nothing_yet_is_shown_all_the_same(asked: Asked) -> None:
    """The rows know it; a node that never was a host they do not."""
    silent, voter = member_named("b"), member_named("c")
    parts = local_parts(MeshDouble([member_named("a", capacity=Capacity(vcpus=4)), silent, voter]))

    async def zones() -> dict[NodeId, str]:
        return {silent.record.node_id: "north"}

    with asked.answering(replace(parts, host_zones=zones)):
        shown = asked("capacity")
    assert (column(shown, "HOST"), column(shown, "ZONE")) == (["a", "b"], ["nova", "north"])
    assert column(shown, "VCPUS") == ["0/4", "0/0"]

"""The log's voters as an operator reads them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fabric.control import voters_view
from fabric.core.membership.model import MemberState
from fabric.core.voters.levels import LEVELS_LABEL
from fabric.runtime.level_watch import HALTED_LABEL
from proto.ids import NodeId, VoterId, voter_of
from tests.fixtures.membership_nodes import fake_node_id
from tests.fixtures.mesh_view_double import MeshDouble, member_named


def voter(name: str, number: int = 1) -> VoterId:
    return voter_of(fake_node_id(name), f"{number:08x}")


def status(**changes: Any) -> dict[str, Any]:
    """As the leader `a` tells of itself and `b`."""
    told: dict[str, Any] = {
        "leader": voter("a"),
        "term": 3,
        "index": 70,
        "voters": [voter("a"), voter("b")],
        "outgoing": [],
        "learners": [],
        "seen": {
            voter("a"): {"lag": 0, "silent_ms": 0, "hanging_ms": 0},
            voter("b"): {"lag": 4, "silent_ms": 1_250, "hanging_ms": 7_500},
        },
        "wishes": {},
        "autopilot": "waits",
    }
    return told | changes


VIEW = MeshDouble(
    [
        member_named("me"),
        member_named("a", zone="z1"),
        member_named("b", zone="z2", state=MemberState.HOST_DOWN),
        member_named("c"),
    ]
)


def test_each_voter_is_shown_with_its_node_and_how_far_it_is() -> None:
    found = voters_view.voters(VIEW, status())
    a, b = found["voters"]
    assert a == {
        "id": voter("a"),
        "role": "leader",
        "node": "a",
        "state": "alive",
        "zone": "z1",
        "levels": "1-1",
        "halted": "",
        "wish": "",
        "lag": 0,
        "silent_s": 0.0,
        "disk_hangs_s": None,
    }
    assert (b["role"], b["state"], b["lag"], b["silent_s"]) == ("voter", "host_down", 4, 1.25)
    assert b["disk_hangs_s"] == 7.5
    assert (found["term"], found["index"], found["autopilot"]) == (3, 70, "waits")


def test_the_leader_comes_first_then_voters_then_who_stands_by() -> None:
    told = status(
        leader=voter("b"),
        voters=[voter("a"), voter("b")],
        outgoing=[voter("b"), voter("c")],
        learners=[voter("me")],
    )
    rows = voters_view.voters(VIEW, told)["voters"]
    assert [(row["node"], row["role"]) for row in rows] == [
        ("b", "leader"),
        ("a", "voter"),
        ("c", "outgoing"),
        ("me", "learner"),
    ]


def test_what_is_not_known_is_not_made_up() -> None:
    stranger = voter_of(NodeId("f" * 32), "00000001")
    told = status(leader="", voters=[stranger], seen={})
    (row,) = voters_view.voters(VIEW, told)["voters"]
    assert (row["role"], row["node"], row["state"], row["zone"]) == ("voter", "f" * 32, "unknown", "")
    assert (row["lag"], row["silent_s"]) == (None, None)


def test_a_wish_is_shown_at_each_voter_of_its_node() -> None:
    told = status(wishes={fake_node_id("b"): "unwanted"}, learners=[voter("b", 2)])
    rows = voters_view.voters(VIEW, told)["voters"]
    assert [(row["id"], row["wish"]) for row in rows] == [
        (voter("a"), ""),
        (voter("b"), "unwanted"),
        (voter("b", 2), "unwanted"),
    ]


def test_how_many_may_fail_is_less_than_half() -> None:
    for count, may_fail in ((1, 0), (2, 0), (3, 1), (4, 1), (5, 2)):
        told = status(voters=[voter(f"n{number}") for number in range(count)])
        assert voters_view.voters(VIEW, told)["may_fail"] == may_fail


def test_levels_and_who_has_halted_are_shown() -> None:
    row = member_named("b")
    labels = {LEVELS_LABEL: "1-2", HALTED_LABEL: "entry 7"}
    view = MeshDouble([member_named("a"), replace(row, record=replace(row.record, labels=labels))])
    found = voters_view.voters(view, status(level=2))
    assert found["level"] == 2
    assert [(each["levels"], each["halted"]) for each in found["voters"]] == [("1-1", ""), ("1-2", "entry 7")]
    assert voters_view.voters(view, status())["level"] == 1  # told by a leader of before levels

"""`fabric ping`: lines and summary like ping(8), and an exit status scripts can use."""

from __future__ import annotations

import json

import pytest

from fabric.core.membership.model import MemberState
from fabric.errors import DeadlineExceededError
from tests.fixtures.local_agent import local_parts
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.fixtures.peer_rpc_double import Peer
from tests.unit.cli.asking import Asked, asked

__all__ = ["asked"]


@pytest.fixture
def parts_and_peer() -> tuple[object, Peer]:
    view = MeshDouble([member_named("me"), member_named("a"), member_named("b", state=MemberState.HOST_DOWN)])
    peer = Peer()
    return local_parts(view, {FakeNode("a").node_id: peer}), peer


def test_lines_and_summary(asked: Asked, parts_and_peer: tuple[object, Peer]) -> None:
    with asked.answering(parts_and_peer[0]):  # type: ignore[arg-type]
        done = asked("ping", "a", "-c", "2", "-i", "0.02", "--size", "1000")
    first, one, two, head, counts, times = done.stdout.splitlines()
    assert done.returncode == 0
    assert first == "PING a (a:7000) 1000 bytes over the mesh"
    assert one.startswith("1000 bytes from a: seq=1 time=")
    assert two.startswith("1000 bytes from a: seq=2 time=")
    assert head == "--- a mesh ping statistics ---"
    assert counts.startswith("2 sent, 2 received, 0% loss, time ")
    assert times.startswith("rtt min/avg/max = ")


def test_nothing_came_back(asked: Asked, parts_and_peer: tuple[object, Peer]) -> None:
    with asked.answering(parts_and_peer[0]):  # type: ignore[arg-type]
        done = asked("ping", "b", "-c", "2", "-i", "0.02")
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].endswith("over the mesh, which this node holds for host_down")
    assert lines[1] == "lost: seq=1 no link could be made, nothing was sent"
    assert "2 sent, 0 received, 100% loss" in lines[4]


def test_json_is_one_object(asked: Asked, parts_and_peer: tuple[object, Peer]) -> None:
    parts, peer = parts_and_peer
    with asked.answering(parts):  # type: ignore[arg-type]
        well = asked("ping", "a", "-c", "2", "-i", "0.02", "--json")
        peer.echo = DeadlineExceededError("late")
        lost = asked("ping", "a", "-c", "1", "--json")
    told = json.loads(well.stdout)
    assert (told["sent"], told["received"], told["loss_percent"], well.returncode) == (2, 2, 0, 0)
    assert told["min_ms"] <= told["avg_ms"] <= told["max_ms"]
    assert [packet["seq"] for packet in told["packets"]] == [1, 2]
    told = json.loads(lost.stdout)
    assert (told["received"], told["min_ms"], lost.returncode) == (0, None, 1)
    assert told["packets"][0]["code"] == "fabric.mesh.deadline"


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["nobody"], 1, "knows no node 'nobody'"),
        ([], 2, "Missing argument 'NODE'"),
        (["a", "--size", "65537"], 2, "65537 is not in the range"),
        (["a", "-c", "-1"], 2, "-1 is not in the range"),
    ],
)
def test_mistakes(
    asked: Asked, parts_and_peer: tuple[object, Peer], argv: list[str], code: int, said: str
) -> None:
    with asked.answering(parts_and_peer[0]):  # type: ignore[arg-type]
        done = asked("ping", *argv)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr

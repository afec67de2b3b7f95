"""`fabric doctor mesh` and `fabric metrics`: exit status, findings with cures, JSON."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from fabric.core.membership.model import Member, MemberState
from tests.fixtures.local_agent import local_parts
from tests.fixtures.mesh_view_double import MeshDouble, member_named
from tests.fixtures.peer_rpc_double import Peer
from tests.fixtures.prometheus_parser import parse_strictly
from tests.unit.cli.asking import Asked, asked, column

__all__ = ["asked"]


@pytest.fixture
def open_port() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp://127.0.0.1:{server.getsockname()[1]}"


def at(endpoint: str, name: str, state: MemberState = MemberState.ALIVE) -> Member:
    member = member_named(name, state=state)
    return replace(member, record=replace(member.record, endpoint=endpoint))


def test_all_well(asked: Asked, open_port: str) -> None:
    a = at(open_port, "a")
    parts = local_parts(MeshDouble([at(open_port, "me"), a]), {a.record.node_id: Peer()})
    with asked.answering(parts):
        done = asked("doctor", "mesh")
        told = json.loads(asked("doctor", "mesh", "--json").stdout)
    assert done.returncode == 0
    assert column(done, "PORT")[0] == "open"
    assert done.stdout.splitlines()[-1].endswith(": all well")
    assert told["ok"] is True


def test_findings_come_with_their_cure_and_exit_1(asked: Asked, open_port: str) -> None:
    a, down = at(open_port, "a"), at("tcp://127.0.0.1:1", "down", MemberState.AGENT_DOWN)
    parts = local_parts(MeshDouble([at(open_port, "me"), a, down]), {a.record.node_id: Peer()})
    with asked.answering(parts):
        done = asked("doctor", "mesh")
        as_json = asked("doctor", "mesh", "--json")
        only = asked("doctor", "mesh", "a")
        nobody = asked("doctor", "mesh", "nobody")
    assert (done.returncode, as_json.returncode, only.returncode) == (1, 1, 0)
    assert "error: down: its machine answers, and nobody listens" in done.stdout
    assert "cure: start its agent" in done.stdout
    assert [finding["check"] for finding in json.loads(as_json.stdout)["findings"]] == ["agent_down"]
    assert (nobody.returncode, nobody.stdout) == (1, "")


def test_many_of_a_kind_are_told_shortly(asked: Asked, open_port: str) -> None:
    down = [at("tcp://127.0.0.1:1", f"d{i}", MemberState.AGENT_DOWN) for i in range(9)]
    with asked.answering(local_parts(MeshDouble([at(open_port, "me"), *down]))):
        done = asked("doctor", "mesh")
    assert done.stdout.count("cure:") == 4
    assert "the same of 5 more: d4, d5, d6, d7, d8" in done.stdout


def test_metrics_are_printed_as_they_are(asked: Asked) -> None:
    with asked.answering(local_parts(MeshDouble())):
        done = asked("metrics")
    assert done.returncode == 0
    assert parse_strictly(done.stdout)["x"].value() == 1

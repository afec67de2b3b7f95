"""`fabric events`: one line a thing that happened, the reason in words, and filters."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from fabric.runtime.events import EventLog
from tests.fixtures.local_agent import local_parts
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks
from tests.unit.cli.asking import Asked, asked

__all__ = ["asked"]


@pytest.fixture
def log() -> EventLog:
    clock = TwoClocks(wall=1_700_000_000_000)
    made = EventLog(clock)
    made.add("agent.started", "me", {"epoch": "4"})
    clock.wall += 60_000
    made.add("member.host_down", "h2", {"id": "ab" * 16, "was": "alive", "reason": "nothing answers there"})
    clock.wall = int(datetime.now(UTC).timestamp() * 1000)
    made.add("server.placed", "h2", {"server": "s1"})
    return made


def test_lines_read_well(asked: Asked, log: EventLog) -> None:
    with asked.answering(local_parts(MeshDouble(), events=log)):
        lines = asked("events").stdout.splitlines()
    assert lines[0] == "2023-11-14T22:13:20.000Z  agent.started        me           epoch=4"
    assert lines[1] == (
        "2023-11-14T22:14:20.000Z  member.host_down     h2           "
        "nothing answers there  id=abababab was=alive"
    )


@pytest.mark.parametrize(
    ("argv", "events"),
    [
        ([], ["agent.started", "member.host_down", "server.placed"]),
        (["--event", "member"], ["member.host_down"]),
        (["--event", "member.host", "--event", "agent"], ["agent.started", "member.host_down"]),
        (["--node-name", "h2"], ["member.host_down", "server.placed"]),
        (["--node-name", "ab" * 16], ["member.host_down"]),
        (["--since", "1h"], ["server.placed"]),
        (["--since", "2023-11-14T22:14:00Z"], ["member.host_down", "server.placed"]),
        (["--since", "2023-11-14T23:14:00+01:00"], ["member.host_down", "server.placed"]),
        (["--since", "2023-11-14"], ["agent.started", "member.host_down", "server.placed"]),
        (["--since", "1h", "--event", "member"], []),
    ],
)
def test_filters(asked: Asked, log: EventLog, argv: list[str], events: list[str]) -> None:
    with asked.answering(local_parts(MeshDouble(), events=log)):
        found = json.loads(asked("events", "--json", *argv).stdout)
        lines = asked("events", *argv).stdout.splitlines()
    assert [event["event"] for event in found] == events
    assert len(lines) == len(events)


@pytest.mark.parametrize("text", ["soon", "", "5", "5w", "2023-13-01"])
def test_a_time_that_is_none_is_misuse(asked: Asked, text: str) -> None:
    done = asked("events", "--since", text)
    assert done.returncode == 2
    assert "examples: 90s, 15m" in done.stderr


@pytest.mark.parametrize("kind", ["nosuch", "member.nosuch", "Member"])
def test_a_kind_that_is_none_is_misuse_and_names_those_there_are(asked: Asked, kind: str) -> None:
    done = asked("events", "--event", kind)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"no event begins with '{kind}'" in done.stderr
    assert "member.host_down" in done.stderr


def test_a_node_nobody_knows_is_warned_of(asked: Asked, log: EventLog) -> None:
    with asked.answering(local_parts(MeshDouble(), events=log)):
        done = asked("events", "--node-name", "nosuch", "--node-name", "me")
        gone = asked("events", "--node-name", "h2")  # no member, and yet there is something to tell
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 1)
    assert done.stderr.startswith("no node named nosuch is known")
    assert gone.stderr == ""

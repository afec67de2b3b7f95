"""`fabric members`: filters, the truth about a cut-off node, and watching."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fabric.core.membership.model import Capacity, MemberState
from fabric.runtime import local_socket
from tests.fixtures.local_agent import local_parts
from tests.fixtures.membership_nodes import FakeNode
from tests.fixtures.mesh_view_double import NOW_MS, MeshDouble, link_to, member_named
from tests.unit.cli.asking import Asked, asked, column, environment
from tests.unit.cli.desk import Desk

__all__ = ["asked"]  # a fixture, used by its name

FABRIC = (sys.executable, "-m", "fabric.cli.main")
WAIT_S = 60.0


@pytest.fixture
def view() -> MeshDouble:
    return MeshDouble(
        [
            member_named(
                "me", ("conductor", 1), ("api", 2), epoch=3, capacity=Capacity(vcpus=8, vcpus_used=2)
            ),
            member_named("b", zone="z1", rack="r7", rtt_us=420, is_linked=True),
            member_named("a", zone="z2", state=MemberState.HOST_DOWN, heard_ms=NOW_MS - 75_000),
            member_named("c", zone="z1", state=MemberState.FORGOTTEN, heard_ms=0),
        ],
        [
            link_to("b", is_ring=True),
            link_to("a", is_up=False, is_bad=True, is_eager=False, rtt_us=900, changed_ms=NOW_MS - 11_000),
        ],
    )


def test_the_table(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        done = asked("members")
    assert (done.returncode, done.stderr) == (0, "")
    assert column(done, "NAME") == ["a", "b", "me"]  # the forgotten are shown when asked for
    assert column(done, "STATE") == ["host_down", "alive", "alive"]
    assert column(done, "AGE") == ["1m15s", "0.5s", "0.5s"]
    assert column(done, "HEARD") == ["gossip", "link", "self"]
    assert column(done, "RTT") == ["-", "0.42ms", "-"]
    assert column(done, "INCARNATION") == ["1.0", "1.0", "3.0"]
    assert column(done, "ZONE") == ["z2", "z1/r7", "nova"]
    assert column(done, "VCPUS") == ["0/0", "0/0", "2/8"]
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("argv", "names"),
    [
        (["--state", "host_down"], ["a"]),
        (["--state", "host_down", "--state", "forgotten"], ["a", "c"]),
        (["--zone", "z1"], ["b"]),
        (["--zone", "nowhere"], []),
        (["a", "me"], ["a", "me"]),
        (["c"], ["c"]),
        ([FakeNode("b").node_id[:6]], ["b"]),
        (["--sort", "state"], ["a", "b", "me"]),
        (["--sort", "age"], ["a", "b", "me"]),
        (["--sort", "rtt"], ["b", "a", "me"]),
        (["--sort", "zone"], ["me", "b", "a"]),
    ],
)
def test_which_rows(asked: Asked, view: MeshDouble, argv: list[str], names: list[str]) -> None:
    with asked.answering(local_parts(view)):
        done = asked("members", *argv)
        rows = json.loads(asked("members", *argv, "--json").stdout)
    assert column(done, "NAME") == names
    assert [row["name"] for row in rows] == names


def test_a_zone_nobody_is_in_is_warned_of(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        done, known = asked("members", "--zone", "nosuch", "--zone", "z1"), asked("members", "--zone", "z1")
    assert (done.returncode, column(done, "NAME")) == (0, ["b"])
    assert done.stderr == "no node in a zone named nosuch is known; the zones are: nova, z1, z2\n"
    assert known.stderr == ""


def test_a_name_nobody_has(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        done = asked("members", "a", "nobody", "--json")
    assert (done.returncode, done.stdout) == (1, "")
    assert "knows no node 'nobody'" in done.stderr


def test_links(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        done = asked("members", "--links")
        rows = json.loads(asked("members", "--links", "--json").stdout)
        misused = asked("members", "--links", "--zone", "z1")
    assert column(done, "NAME") == ["b", "a"]
    assert column(done, "LINK") == ["up", "bad"]
    assert column(done, "TREE") == ["eager", "lazy"]
    assert column(done, "RING") == ["yes", "no"]
    assert column(done, "RTT") == ["0.35ms", "-"]  # a link that is down has none now
    assert column(done, "SINCE") == ["1m00s", "11s"]  # up, and down; not how long they have been links
    assert [row["name"] for row in rows] == ["b", "a"]
    assert misused.returncode == 2


def test_heard_claims_no_link_that_is_down(asked: Asked) -> None:
    lost = member_named("a", is_linked=True, heard_ms=NOW_MS - 9_000, spoke_ms=NOW_MS - 9_000)
    told = member_named("b", is_linked=True, heard_ms=NOW_MS - 500, spoke_ms=NOW_MS - 9_000)
    links = [link_to("a", is_up=False), link_to("b", is_up=False)]
    with asked.answering(local_parts(MeshDouble([member_named("me"), lost, told], links))):
        assert column(asked("members"), "HEARD") == ["lost", "gossip", "self"]


@pytest.mark.parametrize("argv", [("leaders",), ("capacity",), ("node", "show", "b"), ("members", "--links")])
def test_whatever_is_memory_is_called_so(asked: Asked, view: MeshDouble, argv: tuple[str, ...]) -> None:
    with asked.answering(local_parts(view, nodes=Desk(view))):
        assert "hears nobody" not in asked(*argv).stderr
        view.is_isolated = True
        done, as_json = asked(*argv), asked(*argv, "--json")
    assert (done.returncode, as_json.returncode) == (0, 0)
    assert "this node hears nobody: me is cut off" in done.stderr
    assert "this node hears nobody" in as_json.stderr
    json.loads(as_json.stdout)


def test_a_node_that_hears_nobody_says_so_aside(asked: Asked, view: MeshDouble) -> None:
    view.is_isolated = True
    with asked.answering(local_parts(view)):
        done = asked("members")
        as_json = asked("members", "--json")
    assert column(done, "NAME") == ["a", "b", "me"]
    assert done.returncode == as_json.returncode == 0
    assert "this node hears nobody" in done.stderr
    assert "this node hears nobody" in as_json.stderr
    assert len(json.loads(as_json.stdout)) == 3


def test_watching_nobody_is_refused_at_once(asked: Asked) -> None:
    done = asked("members", "--watch")
    assert (done.returncode, "no agent answers" in done.stderr) == (1, True)


# -- watching, in a process of its own: it is ended by a signal


def watching(config: Path, *argv: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    command = [*FABRIC, "members", "--watch", "--interval", "0.1", *argv]
    return subprocess.Popen(
        command, stdout=stdout, stderr=subprocess.PIPE, text=True, env=environment(config) | {"TERM": "xterm"}
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=WAIT_S)
    return process.returncode, said


def guarded(process: subprocess.Popen[str]) -> threading.Timer:
    """A reader that waits for output that does not come is freed by the process' end."""
    timer = threading.Timer(WAIT_S, process.kill)
    timer.daemon = True
    timer.start()
    return timer


def test_watching_as_json_is_an_object_a_line(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        process = watching(asked.config, "--json")
        guard = guarded(process)
        assert process.stdout is not None
        first, second = (json.loads(process.stdout.readline()) for _ in range(2))
        assert first.keys() == {"time", "isolated", "members"}
        assert [row["name"] for row in second["members"]] == ["a", "b", "me"]
        assert ended(process) == (0, "")
        guard.cancel()


def test_watching_outlasts_a_restart_of_the_agent(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        process = watching(asked.config, "--json")
        guard = guarded(process)
        assert process.stdout is not None
        assert "members" in json.loads(process.stdout.readline())
    until(process, lambda line: "error" in line)
    with asked.answering(local_parts(view)):
        until(process, lambda line: "members" in line)
        assert ended(process) == (0, "")
        guard.cancel()


def until(process: subprocess.Popen[str], holds: Callable[[dict[str, object]], bool]) -> None:
    assert process.stdout is not None
    while not holds(json.loads(process.stdout.readline())):
        pass


def test_a_table_of_one_that_fell_silent_is_marked_as_old(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        process = watching(asked.config)
        guard = guarded(process)
        assert process.stdout is not None
        while not process.stdout.readline().startswith("me "):
            pass
    with contextlib.closing(local_socket.bind(asked.directory)):  # listens and never accepts, as if stopped
        began = time.monotonic()
        while not (line := process.stdout.readline()).startswith("no answer for "):
            pass
        while "does not answer: it is stopped or stuck" not in process.stdout.readline():
            pass
        assert process.stdout.readline().startswith("NAME")  # what was last known stays in sight
        assert time.monotonic() - began < WAIT_S / 2
        assert ended(process) == (0, "")
    guard.cancel()
    assert re.fullmatch(r"no answer for \d+ s; the table is from \d\d:\d\d:\d\dZ\n", line)


def test_watching_where_nobody_looks_appends_lines(asked: Asked, view: MeshDouble) -> None:
    with asked.answering(local_parts(view)):
        process = watching(asked.config)
        guard = guarded(process)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(10)]
        assert ended(process) == (0, "")
        guard.cancel()
    assert "\x1b" not in "".join(lines)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\n", lines[0])
    assert lines[1].startswith("NAME")
    assert lines[6].startswith("NAME")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_watching_on_a_terminal_draws_in_place(
    asked: Asked, view: MeshDouble, no_color: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    master, slave = pty.openpty()
    with asked.answering(local_parts(view)):
        process = watching(asked.config, stdout=slave)
        os.close(slave)
        guard = guarded(process)
        seen = b""
        while seen.count(b"\x1b[H") < 3:
            ready, _, _ = select.select([master], [], [], WAIT_S)
            assert ready, seen
            seen += os.read(master, 65_536)
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0
        guard.cancel()
    os.close(master)
    assert seen.count(b"\x1b[2J") == 1  # cleared once, then drawn over
    assert b"host_down" in seen
    assert (b"\x1b[31m" in seen) is (no_color == "")

"""The command line against a running fabric: shapes, exit codes, and what a mistaken user is told."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabric.dev.layout import agents_below
from proto.join import parse_token_text, token_text
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FABRIC = (sys.executable, "-m", "fabric.cli.main")
LINE_TIMEOUT_S = 30.0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim") as running:
        yield running


def rows(fabric: Running, *argv: str) -> Any:
    return json.loads(fabric.cli(*argv, "--json").stdout)


def refused(done: subprocess.CompletedProcess[str], code: int, *said: str) -> None:
    assert done.returncode == code, done.stdout + done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr


def test_members(fabric: Running) -> None:
    for node in ("h1", "h2", "h3"):
        found = rows(fabric, "members", "--node", node)
        assert {row["name"]: row["state"] for row in found} == {"h1": "alive", "h2": "alive", "h3": "alive"}
    keys = {"id", "name", "state", "age_s", "address", "roles", "zone", "version", "capacity"}
    for row in found:
        assert keys <= row.keys()
        assert isinstance(row["age_s"], float)
        assert row["capacity"]["vcpus"] == 64
    assert {row["name"] for row in found if "conductor" in row["roles"]} == {"h1"}


def test_leaders_capacity_and_status(fabric: Running) -> None:
    found = rows(fabric, "leaders")
    assert {row["role"]: row["node"] for row in found} == {"api": "h1", "conductor": "h1", "scheduler": "h1"}
    for row in found:
        assert {"role", "node", "since", "fence"} <= row.keys()
        assert 0 <= time.time() - row["since"] < 600
    assert len({row["fence"] for row in found}) == 3
    assert [row["host"] for row in rows(fabric, "capacity")] == ["h1", "h2", "h3"]
    status = rows(fabric, "dev", "status")
    on_disk = json.loads((fabric.directory / "fabric.json").read_text())
    assert status["api"] == on_disk["api"]
    for node in on_disk["nodes"]:
        assert {"name", "id", "pid", "dir"} <= node.keys()
        assert os.path.isdir(node["dir"])
    assert [node["running"] for node in status["nodes"]] == [True, True, True]


def test_tables_hold_what_json_holds(fabric: Running) -> None:
    for command, row_count in (("members", 3), ("leaders", 3), ("capacity", 3)):
        lines = fabric.cli(command).stdout.splitlines()
        assert len(lines) == 1 + row_count
        assert "\x1b" not in "".join(lines)  # plain text where nobody looks
    assert "h1" in fabric.cli("events").stdout


def test_what_others_may_read_holds_no_secret(fabric: Running) -> None:
    """Directories may be passed through (QEMU runs as its own user), not listed; files are the owner's."""
    public = {".fabric-dev", "id_ed25519.pub", "agent.log", "lock"}
    for path in fabric.directory.rglob("*"):
        mode = path.lstat().st_mode
        if path.is_file() and mode & 0o077 and path.name not in public:
            assert "blobs" in path.parts or "instances" in path.parts, f"{path}: {mode:o}"
    for secret in ("openrc", "clouds.yaml", "admin-password", "id_ed25519", "fabric.json"):
        assert (fabric.directory / secret).stat().st_mode & 0o077 == 0, secret


def test_up_on_a_running_fabric_changes_nothing(fabric: Running) -> None:
    before = fabric.layout
    done = fabric.cli("dev", "up", "--json")
    assert "running in" in done.stderr
    assert json.loads(done.stdout)["api"] == list(before.api_urls)
    assert fabric.layout == before
    assert fabric.cli("dev", "start", "h1").returncode == 0
    assert fabric.layout == before


def test_mistakes_name_the_thing_and_the_next_step(fabric: Running) -> None:
    refused(fabric.cli("members", "--node", "h9", check=False), 1, "no node 'h9'", "h1, h2, h3")
    refused(fabric.cli("dev", "kill", "h9", check=False), 1, "no node 'h9'", "h1, h2, h3")
    refused(fabric.cli("dev", "start", "h9", check=False), 1, "no node 'h9'")
    refused(fabric.cli("dev", "exec", "h1", "--", "no-such-program", check=False), 1, "no-such-program")
    refused(fabric.cli("dev", "ssh", "nobody", check=False), 1, "no server named 'nobody'")
    refused(fabric.cli("token", "create", "--node", "h2", check=False), 1, "h1, the conductor: ask there")


def test_exec_is_the_command_itself(fabric: Running) -> None:
    done = fabric.cli("dev", "exec", "h1", "--", "sh", "-c", "echo out; exit 7", check=False)
    assert (done.returncode, done.stdout) == (7, "out\n")


# -- events


class Follower:
    """`fabric events --follow --json` in a process of its own, read line by line."""

    def __init__(self, fabric: Running, node: str) -> None:
        argv = [*FABRIC, "events", "--follow", "--json", "--node", node, "--dir", str(fabric.directory)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def until(self, **wanted: str) -> dict[str, Any]:
        """The first event with these fields."""
        while True:
            event: dict[str, Any] = json.loads(self._lines.get(timeout=LINE_TIMEOUT_S))
            assert {"time", "event", "node"} <= event.keys()
            if wanted.items() <= event.items():
                return event

    def end(self) -> tuple[int, str]:
        """Its exit code and what it had to say."""
        assert self.process.stderr is not None
        return self.process.wait(LINE_TIMEOUT_S), self.process.stderr.read()

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LINE_TIMEOUT_S)
        self._reader.join(LINE_TIMEOUT_S)
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)


@contextlib.contextmanager
def following(fabric: Running, node: str) -> Iterator[Follower]:
    follower = Follower(fabric, node)
    try:
        yield follower
    finally:
        follower.close()


def test_events_follow_what_happens_until_interrupted(fabric: Running) -> None:
    with following(fabric, "h1") as story:
        story.until(event="agent.started", node="h1")
        server_id = fabric.create("told")
        story.until(event="server.create", server=server_id)
        fabric.wait_status(server_id, "ACTIVE")
        story.until(event="server.observed", server=server_id)
        fabric.delete(server_id)
        story.until(event="server.removed", server=server_id)
        story.process.send_signal(signal.SIGINT)
        assert story.end() == (0, "")
    assert '"ERROR"' not in fabric.node("h1").log.read_text()


def test_a_dead_conductor_leaves_everyone_answering(fabric: Running) -> None:
    with following(fabric, "h1") as ours, following(fabric, "h3") as theirs:
        ours.until(event="agent.started")
        fabric.cli("dev", "kill", "h1")
        code, said = ours.end()
        assert (code, "stopped answering" in said) == (1, True), said
        theirs.until(event="member.agent_down", node="h1")
    for node in ("h2", "h3"):
        states = {row["name"]: row["state"] for row in rows(fabric, "members", "--node", node)}
        assert states == {"h1": "agent_down", "h2": "alive", "h3": "alive"}
    assert len(rows(fabric, "members")) == 3  # whoever runs is asked
    refused(
        fabric.cli("members", "--node", "h1", check=False), 1, "no agent answers", "`fabric dev start NODE"
    )
    refused(fabric.cli("dev", "kill", "h1", check=False), 1, "not running", "`fabric dev start h1`")
    refused(fabric.cli("dev", "ssh", "told", check=False), 1, "the API at 127.0.0.1")
    refused(fabric.cli("token", "create", check=False), 1, "join tokens")
    again = fabric.cli("dev", "up")
    assert "h1: `fabric dev start h1" in again.stderr
    assert rows(fabric, "dev", "status")["nodes"][0]["running"] is False
    fabric.cli("dev", "start", "h1")
    assert {row["node"] for row in rows(fabric, "leaders")} == {"h1"}

    def all_alive() -> bool:
        return {row["state"] for row in rows(fabric, "members", "--node", "h3")} == {"alive"}

    eventually(all_alive, what="h3 sees h1 again")


def test_a_damaged_state_file_is_named(fabric: Running) -> None:
    fabric.cli("dev", "kill", "h3", "--signal", "TERM")
    state = fabric.node("h3").dir
    for name in ("fabric.member", "host/assignments.json"):
        whole = (state / name).read_bytes()
        (state / name).write_bytes(b"\xff\x00 garbage")
        refused(fabric.cli("dev", "start", "h3", check=False), 1, str(state / name))
        (state / name).write_bytes(whole)
    fabric.cli("dev", "start", "h3")


# -- joining


def invite(fabric: Running, *argv: str) -> str:
    return fabric.cli("token", "create", *argv).stdout.strip()


def join(folder: Path, name: str, token: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    config = folder / "fabric.toml"
    config.write_text(
        f'[node]\nname = "{name}"\nstate_dir = "{folder}/state"\n'
        '[mesh]\naddress = "127.0.0.1"\n[compute]\ndriver = "sim"\n'
    )
    argv = [*FABRIC, "join", "-", "--config", str(config)]
    return subprocess.run(argv, input=token, capture_output=True, text=True, timeout=60)


def test_tokens_open_the_door_once_and_in_time(fabric: Running, tmp_path: Path) -> None:
    token = invite(fabric)
    done = join(tmp_path / "a", "extra", token)
    assert done.returncode == 0, done.stderr
    assert "joined as extra" in done.stderr
    refused(join(tmp_path / "a", "extra", token), 1, "has joined fabric", "remove that directory")
    refused(join(tmp_path / "b", "another", token), 1, "unknown or used up")
    refused(join(tmp_path / "c", "h2", invite(fabric)), 1, "already named h2")
    short = invite(fabric, "--ttl", "1s")
    expires_ms = parse_token_text(short).expires_ms
    eventually(lambda: time.time() * 1000 > expires_ms, what="the token's end")
    refused(join(tmp_path / "d", "late", short), 1, "expired", "`fabric token create`")
    assert not (tmp_path / "d" / "state" / "fabric.member").exists()


def test_a_token_of_another_fabric_is_of_no_use(fabric: Running, tmp_path: Path) -> None:
    """Its door, as the token of a fabric with another root: the newcomer notices before it believes."""
    true = parse_token_text(invite(fabric))
    false = dataclasses.replace(true, root_fingerprint=bytes(32))
    refused(join(tmp_path / "a", "misled", token_text(false)), 1, "another fabric")
    assert not (tmp_path / "a" / "state" / "fabric.member").exists()


# -- beginnings and ends


def up(directory: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    command = [*FABRIC, "dev", "up", "--nodes", "1", "--dir", str(directory), *argv]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def down(directory: Path) -> None:
    done = subprocess.run(
        [*FABRIC, "dev", "down", "--dir", str(directory)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert not directory.exists()


def test_another_fabric_beside_this_one(fabric: Running, tmp_path: Path) -> None:
    other = tmp_path / "other"
    try:
        assert up(other).returncode == 0
        argv = [*FABRIC, "members", "--json", "--dir", str(other)]
        found = json.loads(subprocess.run(argv, capture_output=True, text=True, timeout=60).stdout)
        assert [row["name"] for row in found] == ["h1"]
        assert len(rows(fabric, "members")) >= 3
        assert len(agents_below(other)) == 1
    finally:
        down(other)
    assert all(node.is_running() for node in fabric.layout.nodes)


def test_a_taken_port_is_named_and_what_was_made_can_be_removed(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = up(tmp_path / "dev", "--api-port", str(port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr
    assert f"`fabric dev down --dir {tmp_path / 'dev'}`" in done.stderr
    again = up(tmp_path / "dev")
    assert (again.returncode, "not running" in again.stderr) == (1, True)
    down(tmp_path / "dev")


def test_an_unreachable_database_is_named_without_its_password(tmp_path: Path) -> None:
    done = up(tmp_path / "dev", "--state-url", "postgresql+psycopg://me:hunter2@127.0.0.1:1/x")
    assert done.returncode == 1
    assert "the database cannot be used" in done.stderr
    assert "hunter2" not in done.stderr + (tmp_path / "dev" / "nodes" / "h1" / "agent.log").read_text()
    shown = [*FABRIC, "dev", "status", "--json", "--dir", str(tmp_path / "dev")]
    assert "hunter2" not in subprocess.run(shown, capture_output=True, text=True, timeout=60).stdout
    down(tmp_path / "dev")


def test_interrupted_in_the_middle_leaves_nothing_that_down_does_not_end(tmp_path: Path) -> None:
    directory = tmp_path / "dev"
    process = subprocess.Popen(
        [*FABRIC, "dev", "up", "--nodes", "2", "--dir", str(directory)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        eventually(lambda: agents_below(directory) != [], what="the first agent")
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "interrupted" in said
    assert "Traceback" not in said
    down(directory)
    assert agents_below(directory) == []

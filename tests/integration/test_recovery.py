"""After a disaster: one voter of three goes on alone; a backup where none is left. The rest comes back."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabric.dev.cloud_client import CloudClient
from fabric.dev.up import PASSWORD_FILE
from fabric.errors import FabricError
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

WAIT_S = 150.0
NAMES = ("h1", "h2", "h3")


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=3, voters=0) as running:
        eventually(lambda: voting(running) == set(NAMES), timeout_s=WAIT_S, what="three voters")
        yield running


def voting(fabric: Running) -> set[str]:
    for node in fabric.layout.nodes:
        if node.is_running():
            done = fabric.cli("voters", "list", "--node", node.name, "--json", check=False)
            if done.returncode == 0 and (found := json.loads(done.stdout))["seen_from"] == "leader":
                return {row["node"] for row in found["voters"] if row["role"] in ("leader", "voter")}
    return set()


def kill(fabric: Running, *names: str) -> None:
    for name in names:
        os.kill(fabric.node(name).pid, signal.SIGKILL)
    for name in names:
        eventually(lambda name=name: not fabric.node(name).is_running(), what=f"the end of {name}")


def cloud_at(fabric: Running, name: str) -> CloudClient | None:
    client = CloudClient(fabric.layout.api_urls[NAMES.index(name)])
    try:
        client.login("admin", (fabric.directory / PASSWORD_FILE).read_text(), "admin")
    except (FabricError, OSError):
        return None
    return client


def until_cloud(fabric: Running, name: str) -> CloudClient:
    found = eventually(lambda: cloud_at(fabric, name), timeout_s=WAIT_S, what=f"the API of {name}")
    assert isinstance(found, CloudClient)
    return found


def flavor(cloud: CloudClient, name: str) -> None:
    cloud.post(
        "/compute/v2.1/flavors", {"flavor": {"name": name, "id": name, "ram": 64, "vcpus": 1, "disk": 1}}
    )


def flavors(cloud: CloudClient) -> set[str]:
    return {row["name"] for row in cloud.get("/compute/v2.1/flavors")["flavors"]}


def hosts(cloud: CloudClient) -> set[str]:
    return {row["hypervisor_hostname"] for row in cloud.get("/compute/v2.1/os-hypervisors")["hypervisors"]}


def until_whole(fabric: Running, *wanted: str) -> None:
    """All three vote, and each has all of it."""
    eventually(lambda: voting(fabric) == set(NAMES), timeout_s=WAIT_S, what="three voters again")
    for name in NAMES:
        cloud = until_cloud(fabric, name)
        eventually(
            lambda cloud=cloud: set(wanted) <= flavors(cloud), timeout_s=WAIT_S, what=f"all of it at {name}"
        )


def test_the_survivor_of_three_goes_on_and_the_others_become_voters_again(fabric: Running) -> None:
    flavor(until_cloud(fabric, "h1"), "before")
    refused = fabric.cli("recover", "--survivor", "--yes-i-lose-writes", "--node", "h1", check=False)
    assert refused.returncode == 1, "its agent runs"
    assert "in use" in refused.stderr
    kill(fabric, *NAMES)
    shown = fabric.cli("recover", "--look", "--node", "h1").stdout
    assert fabric.node("h2").id in shown
    done = fabric.cli("recover", "--survivor", "--yes-i-lose-writes", "--node", "h1")
    assert "lost: what only other voters had" in done.stderr
    fabric.cli("dev", "start", "h1")
    alone = until_cloud(fabric, "h1")
    assert "before" in flavors(alone)
    flavor(alone, "alone")
    shutil.rmtree(fabric.node("h2").dir / "state")  # h3 comes back with all that it had
    for name in ("h2", "h3"):
        fabric.cli("dev", "start", name)
    until_whole(fabric, "before", "alone")
    assert list(fabric.node("h3").dir.glob("state.former-*")), "its former voter is set aside"


def test_a_voter_whose_state_was_put_back_from_a_copy_comes_back_as_another(
    fabric: Running, tmp_path: Path
) -> None:
    state = fabric.node("h2").dir / "state"
    kill(fabric, "h2")
    shutil.copytree(state, tmp_path / "copy")
    fabric.cli("dev", "start", "h2")
    until_whole(fabric)
    flavor(until_cloud(fabric, "h1"), "since")
    kill(fabric, "h2")
    former = (state / "voter.id").read_text()
    shutil.rmtree(state)
    shutil.copytree(tmp_path / "copy", state)
    fabric.cli("dev", "start", "h2")
    until_whole(fabric, "before", "alone", "since")
    assert (state / "voter.id").read_text() != former
    assert list(fabric.node("h2").dir.glob("state.failed-*")), "the older copy is set aside"


def test_a_backup_brings_all_back_but_what_came_after_it(fabric: Running, tmp_path: Path) -> None:
    server = fabric.create("kept")
    fabric.wait_status(server, "ACTIVE")
    file = tmp_path / "rows.tar"
    fabric.cli("backup", str(file), "--node", "h1")
    assert file.stat().st_mode & 0o777 == 0o600
    assert fabric.cli("backup", str(file), "--node", "h1", check=False).returncode == 1, "never over another"
    flavor(until_cloud(fabric, "h1"), "after-it")
    kill(fabric, *NAMES)
    for name in NAMES:
        shutil.rmtree(fabric.node(name).dir / "state")
    done = fabric.cli("restore", str(file), "--node", "h1")
    assert "lost: everything after entry" in done.stderr
    for name in NAMES:
        fabric.cli("dev", "start", name)
    cloud = until_cloud(fabric, "h1")
    assert "after-it" not in flavors(cloud)
    flavor(cloud, "next")
    assert fabric.wait_status(server, "ACTIVE")["name"] == "kept"
    fabric.act(server, {"os-stop": None})  # its host takes the word of the restored rows
    fabric.wait_status(server, "SHUTOFF")
    until_whole(fabric, "before", "alone", "next")


def test_a_new_machine_brings_it_back_where_no_member_is_left(fabric: Running, tmp_path: Path) -> None:
    flavor(until_cloud(fabric, "h1"), "last")
    bare, whole = tmp_path / "bare.tar", tmp_path / "whole.tar"
    fabric.cli("backup", str(bare), "--node", "h1")
    fabric.cli("backup", str(whole), "--node", "h1", "--with-root-key")
    kill(fabric, *NAMES)
    shutil.rmtree(fabric.node("h1").dir)
    refused = fabric.cli("restore", str(bare), "--node", "h1", check=False)
    assert (refused.returncode, "--with-root-key" in refused.stderr) == (1, True), refused.stderr
    refused = fabric.cli("restore", str(whole), "--node", "h1", check=False)
    assert (refused.returncode, "set another node.name" in refused.stderr) == (1, True), refused.stderr
    config = fabric.node("h1").config
    config.write_text(config.read_text().replace('name = "h1"', 'name = "new"'))
    done = fabric.cli("restore", str(whole), "--node", "h1")
    assert "a new node of the fabric, new, and its founder" in done.stderr
    fabric.cli("dev", "start", "h1")
    cloud = until_cloud(fabric, "h1")
    assert "last" in flavors(cloud)
    flavor(cloud, "and-on")
    rows = json.loads(fabric.cli("members", "--node", "h1", "--json").stdout)
    assert {row["name"]: row["state"] for row in rows}["new"] == "alive"
    eventually(lambda: "new" in hosts(cloud), what="that it carries guests, too")

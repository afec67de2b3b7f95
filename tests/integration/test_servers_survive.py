"""What an agent's sudden death may do to servers: nothing. On both drivers, with real processes."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(
    scope="module", params=["sim", pytest.param("libvirt", marks=[pytest.mark.libvirt, pytest.mark.root])]
)
def fabric(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_fabric(request.param) as running:
        yield running


def guest_pid(fabric: Running, server_id: str, host: str) -> int | None:
    """The guest's process as its host sees it."""
    if fabric.driver == "sim":
        path = fabric.node(host).dir / "instances" / server_id / "domain.json"
        pid = json.loads(path.read_text())["pid"] if path.exists() else None
        return None if pid is None else int(pid)
    out = fabric.on_host(host, ["pgrep", "-f", f"guest=fabric-{server_id}"], check=False)
    return int(out.split()[0]) if out.split() else None


def host_of(server: dict[str, Any]) -> str:
    return str(server["OS-EXT-SRV-ATTR:host"])


def test_killed_agent_leaves_its_guest_and_adopts_it_again(fabric: Running) -> None:
    server_id = fabric.create("survivor")
    host = host_of(fabric.wait_status(server_id, "ACTIVE"))
    before = guest_pid(fabric, server_id, host)
    assert before is not None
    fabric.cli("dev", "kill", host)
    assert guest_pid(fabric, server_id, host) == before
    fabric.cli("dev", "start", host)
    assert guest_pid(fabric, server_id, host) == before
    fabric.cloud().post(f"/compute/v2.1/servers/{server_id}/action", {"os-stop": None})
    fabric.wait_status(server_id, "SHUTOFF")  # it obeys: it was adopted
    fabric.cloud().post(f"/compute/v2.1/servers/{server_id}/action", {"os-start": None})
    fabric.wait_status(server_id, "ACTIVE")
    fabric.delete(server_id)


def test_kill_in_the_middle_of_a_build(fabric: Running) -> None:
    """The host's agent dies while it spawns the guest: the server ends ACTIVE, and nothing leaks."""
    with no_build_ends(fabric, "h2"):
        server_id = fabric.create("interrupted", availability_zone="nova:h2", key_name="fabric-dev")
        eventually(lambda: fabric.show(server_id)["OS-EXT-STS:task_state"] == "spawning", what="spawning")
        fabric.cli("dev", "kill", "h2")
        status = fabric.show(server_id)["status"]
    fabric.cli("dev", "start", "h2")
    assert status == "BUILD"  # it was in the middle indeed
    fabric.wait_status(server_id, "ACTIVE")
    fabric.delete(server_id)
    assert leftovers(fabric, "h2", server_id) == {}


def test_conductor_killed_after_it_said_yes(fabric: Running) -> None:
    """A 202 is a promise: with the conductor's agent killed at once, the server is there afterwards."""
    made = [fabric.create(f"promised-{i}", availability_zone="nova:h3") for i in range(2)]
    fabric.cli("dev", "kill", "h1")
    fabric.cli("dev", "start", "h1")
    for server_id in made:
        fabric.wait_status(server_id, "ACTIVE")
    for server_id in made:
        fabric.delete(server_id)
        assert leftovers(fabric, "h3", server_id) == {}


@contextlib.contextmanager
def no_build_ends(fabric: Running, name: str) -> Iterator[None]:
    """However slow the test is and however fast the machine: a build on that host is not over before the
    end of the block. The sim driver's boots take a minute; of real ones the host's libvirtd is frozen."""
    if fabric.driver == "libvirt":
        fabric.on_host(name, ["pkill", "-STOP", "-x", "libvirtd"])
        try:
            yield
        finally:
            fabric.on_host(name, ["pkill", "-CONT", "-x", "libvirtd"])
        return
    config = fabric.node(name).config
    text = config.read_text()
    assert "# sim_build_ms = 0" in text
    config.write_text(text.replace("# sim_build_ms = 0", "sim_build_ms = 60000"))
    fabric.cli("dev", "kill", name)
    fabric.cli("dev", "start", name)
    try:
        yield
    finally:
        config.write_text(text)


def test_delete_leaves_nothing(fabric: Running) -> None:
    server_id = fabric.create("short-lived", key_name="fabric-dev", config_drive=True)
    host = host_of(fabric.wait_status(server_id, "ACTIVE"))
    assert leftovers(fabric, host, server_id) != {}  # the check does see a living server
    fabric.delete(server_id)
    assert leftovers(fabric, host, server_id) == {}
    assert rows_about(fabric, server_id) == []


def test_deleting_while_it_builds(fabric: Running) -> None:
    server_id = fabric.create("changed-my-mind")
    fabric.delete(server_id)
    for node in fabric.layout.nodes:
        eventually(lambda node=node: leftovers(fabric, node.name, server_id) == {}, what=f"{node.name} clean")


def test_a_host_that_is_away_catches_up(fabric: Running) -> None:
    """Deleted while its host's agent is dead: gone for the user, gone on the host once it is back."""
    server_id = fabric.create("orphan", availability_zone="nova:h2")  # the conductor must stay: h1
    host = host_of(fabric.wait_status(server_id, "ACTIVE"))
    assert host == "h2"
    fabric.cli("dev", "kill", host)
    fabric.cloud().delete(f"/compute/v2.1/servers/{server_id}")
    assert fabric.show(server_id)["OS-EXT-STS:task_state"] == "deleting"
    fabric.cli("dev", "start", host)
    fabric.delete(server_id)
    assert leftovers(fabric, host, server_id) == {}


def leftovers(fabric: Running, host: str, server_id: str) -> dict[str, str]:
    """What of a server is on a host, by the host's own tools: domain, disk, tap, bridge port, nft rule,
    dnsmasq lease. (The bridge and dnsmasq themselves stay while other servers use the network.)"""
    found: dict[str, str] = {}
    node = fabric.node(host)
    files = [path for path in node.dir.rglob(f"*{server_id}*") if "log" not in path.parts]
    if files:
        found["disk"] = str(files)
    if fabric.driver == "sim":
        return found
    domains = fabric.on_host(host, ["virsh", "-q", "list", "--all", "--name"])
    if server_id in domains:
        found["domain"] = domains
    ports = ports_seen(fabric, server_id)
    links = fabric.on_host(host, ["ip", "-o", "link"])
    rules = fabric.on_host(host, ["nft", "list", "ruleset"])
    for port_id, mac in ports:
        if f"tap{port_id[:11]}" in links:
            found["tap"] = links
        if f"tap{port_id[:11]}" in rules or mac in rules:
            found["nft"] = rules
        if f"tap{port_id[:11]}" in fabric.on_host(host, ["bridge", "link"]):
            found["bridge port"] = port_id
        for path in node.dir.rglob("*"):
            if path.is_file() and "dhcp" in path.name.lower() and mac in path.read_text(errors="replace"):
                found["dhcp"] = str(path)
    return found


_PORTS: dict[str, list[tuple[str, str]]] = {}


def ports_seen(fabric: Running, server_id: str) -> list[tuple[str, str]]:
    """(id, mac) of the server's ports, remembered for after its deletion."""
    ports = fabric.cloud().get(f"/network/v2.0/ports?device_id={server_id}")["ports"]
    if ports:
        _PORTS[server_id] = [(port["id"], port["mac_address"]) for port in ports]
    return _PORTS.get(server_id, [])


def rows_about(fabric: Running, server_id: str) -> list[str]:
    """Tables of the conductor that still hold a row about the server, the audit trail and the dedupe
    table excepted: they are the history."""
    home = fabric.layout.nodes[0].dir
    (database,) = [path for path in home.rglob("*.sqlite*") if re.search(r"\.sqlite3?$", path.name)]
    copy = Path(fabric.directory) / "copy.sqlite"
    for suffix in ("", "-wal"):
        if Path(f"{database}{suffix}").exists():
            shutil.copy(f"{database}{suffix}", f"{copy}{suffix}")
    found = []
    with sqlite3.connect(copy) as rows:
        tables = [name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        assert "servers" in tables
        for table in tables:
            if table in ("audit", "requests"):
                continue
            for row in rows.execute(f'SELECT * FROM "{table}"'):
                if any(server_id in str(value) for value in row):
                    found.append(table)
    return found


def test_everything_gone_with_the_last_server(fabric: Running) -> None:
    """The six of the issue: domain, tap, bridge port, nft rule, dnsmasq, disk; and the rows."""
    cloud = fabric.cloud()
    for server in cloud.get("/compute/v2.1/servers")["servers"]:
        fabric.delete(server["id"])
    assert cloud.get("/network/v2.0/ports")["ports"] == []
    for node in fabric.layout.nodes:
        left = eventually(
            lambda node=node: (
                (state := fabric.local(node.name).get("/host/network"))["taps"] == []
                and state["dnsmasq_pids"] == []
                and state
            ),
            what=f"{node.name}: no tap, no dnsmasq",
        )
        assert left["bridges"] == []
        assert left["nft_rules"] == 0
        if fabric.driver == "libvirt":
            assert fabric.on_host(node.name, ["virsh", "-q", "list", "--all", "--name"]).strip() == ""
            assert fabric.on_host(node.name, ["ip", "-o", "link", "show", "type", "bridge"]) == ""
            assert "fabric" not in fabric.on_host(node.name, ["nft", "list", "ruleset"])
            assert fabric.on_host(node.name, ["pgrep", "-a", "dnsmasq"], check=False) == ""
            assert "tap" not in fabric.on_host(node.name, ["ip", "-o", "link"])

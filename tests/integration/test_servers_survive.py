"""What an agent's sudden death may do to servers: nothing. On both drivers, with real processes."""

from __future__ import annotations

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
        folder = fabric.node(host).dir / "instances"
        for path in folder.rglob("*.json"):
            value = json.loads(path.read_text())
            if value.get("server_id") == server_id:
                return int(value["pid"]) if value.get("pid") else None
        return None
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
    """Of whichever host got the server, at whichever step: it ends ACTIVE, and nothing is left behind."""
    server_id = fabric.create("interrupted")
    placed = eventually(
        lambda: (shown := fabric.show(server_id)).get("OS-EXT-SRV-ATTR:host") and shown, what="placement"
    )
    host = host_of(placed)
    fabric.cli("dev", "kill", host)
    fabric.cli("dev", "start", host)
    server = fabric.wait_status(server_id, "ACTIVE", "ERROR")
    if server["status"] == "ERROR":
        assert server["fault"]["message"]
    fabric.delete(server_id)
    assert leftovers(fabric, host, server_id) == {}


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
    server_id = fabric.create("orphan")
    server = fabric.wait_status(server_id, "ACTIVE")
    host = host_of(server)
    if host == fabric.layout.nodes[0].name:
        pytest.skip("it landed on the conductor's host, whose death is another test")
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

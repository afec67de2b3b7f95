"""The stock `openstack` client, from its own virtual environment, against a whole fabric."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

CLIENT = Path(__file__).resolve().parents[2] / ".venv-clients" / "bin" / "openstack"
pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]


ZONES = ("availability", "zone", "list", "--compute")
BOTH = ["sim", pytest.param("libvirt", marks=[pytest.mark.libvirt, pytest.mark.root])]


@pytest.fixture(scope="module", params=BOTH)
def either(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running_fabric(request.param) as running:
        yield running


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    """For what does not touch a guest. At the newest level, as it is a moment after its founding."""
    with running_fabric("sim", nodes=1) as running:
        newest = THIS_PROGRAM.highest
        eventually(lambda: level_of(running) == newest, what=f"level {newest}")
        yield running


def level_of(running: Running) -> int:
    return int(json.loads(running.cli("voters", "list", "--json").stdout)["level"])


def openrc(running: Running) -> dict[str, str]:
    """The environment after `. openrc` in a shell, as a user has it."""
    script = f". {running.directory}/openrc && env -0"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return dict(item.split("=", 1) for item in done.stdout.split("\0") if "=" in item)


def openstack(running: Running, *argv: str, as_json: bool = True) -> Any:
    """Runs the client; any word on stderr fails the test."""
    command = [str(CLIENT), *argv, *(["-f", "json"] if as_json else [])]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=400, env=openrc(running), cwd=running.directory
    )
    assert done.returncode == 0, f"{argv}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stderr == "", f"{argv} warned: {done.stderr}"
    return json.loads(done.stdout) if as_json else done.stdout


def test_every_command_of_first_light(either: Running) -> None:
    fabric = either
    token = openstack(fabric, "token", "issue")
    assert token["id"]
    types = {entry["Type"] for entry in openstack(fabric, "catalog", "list")}
    assert types >= {"identity", "compute", "image", "network"}
    assert "guest" in {image["Name"] for image in openstack(fabric, "image", "list")}
    assert "m1.nano" in {flavor["Name"] for flavor in openstack(fabric, "flavor", "list")}
    assert "private" in {network["Name"] for network in openstack(fabric, "network", "list")}

    create = "server create --image guest --flavor m1.nano --network private --key-name fabric-dev --wait web"
    server = openstack(fabric, *create.split())
    assert server["status"] == "ACTIVE"
    shown = openstack(fabric, "server", "show", "web")
    assert shown["id"] == server["id"]
    assert shown["addresses"]["private"]
    assert "web" in {row["Name"] for row in openstack(fabric, "server", "list")}
    log = openstack(fabric, "console", "log", "show", "web", as_json=False)
    assert isinstance(log, str)

    openstack(fabric, "server", "stop", "web", as_json=False)
    fabric.wait_status(server["id"], "SHUTOFF")
    openstack(fabric, "server", "start", "web", as_json=False)
    fabric.wait_status(server["id"], "ACTIVE")
    openstack(fabric, "server", "reboot", "--hard", "--wait", "web", as_json=False)
    openstack(fabric, "server", "reboot", "web", as_json=False)
    fabric.wait_status(server["id"], "ACTIVE")
    openstack(fabric, "server", "delete", "--wait", "web", as_json=False)
    assert "web" not in {row["Name"] for row in openstack(fabric, "server", "list")}

    hypervisors = openstack(fabric, "hypervisor", "list")
    assert {row["State"] for row in hypervisors} == {"up"}
    assert len(hypervisors) == 3
    services = openstack(fabric, "compute", "service", "list")
    assert {row["Binary"] for row in services} >= {"nova-compute", "nova-scheduler", "nova-conductor"}
    assert {row["State"] for row in services} == {"up"}


def test_an_image_survives_the_round_trip(fabric: Running, tmp_path: Path) -> None:
    source = tmp_path / "small.raw"
    source.write_bytes(os.urandom(300_000))
    argv = ["image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", str(source)]
    made = openstack(fabric, *argv, "round-trip")
    assert openstack(fabric, "image", "show", "round-trip")["status"] == "active"
    openstack(fabric, "image", "save", "--file", str(tmp_path / "back.raw"), made["id"], as_json=False)
    assert (tmp_path / "back.raw").read_bytes() == source.read_bytes()
    openstack(fabric, "image", "delete", made["id"], as_json=False)


def test_tenancy_by_the_client(fabric: Running) -> None:
    openstack(fabric, "project", "create", "blue")
    openstack(fabric, "user", "create", "--project", "blue", "--password", "s3cret-blue", "ben")
    openstack(fabric, "role", "add", "--project", "blue", "--user", "ben", "member", as_json=False)
    names = {row["Name"] for row in openstack(fabric, "user", "list")}
    assert names >= {"admin", "ben"}
    openstack(fabric, "user", "delete", "ben", as_json=False)
    openstack(fabric, "project", "delete", "blue", as_json=False)


def test_networks_by_the_client(fabric: Running) -> None:
    openstack(fabric, "network", "create", "side")
    subnet = openstack(fabric, *"subnet create --network side --subnet-range 10.99.0.0/24 side-v4".split())
    assert subnet["gateway_ip"] == "10.99.0.1"
    port = openstack(fabric, *"port create --network side corner".split())
    assert port["fixed_ips"]
    group = openstack(fabric, "security", "group", "create", "web-in")
    rule = "security group rule create --protocol tcp --dst-port 80 web-in"
    assert openstack(fabric, *rule.split())["security_group_id"] == group["id"]
    openstack(fabric, "port", "delete", "corner", as_json=False)
    openstack(fabric, "network", "delete", "side", as_json=False)
    openstack(fabric, "security", "group", "delete", "web-in", as_json=False)


def test_key_pairs_by_the_client(fabric: Running, tmp_path: Path) -> None:
    key = openstack(fabric, "keypair", "create", "--private-key", str(tmp_path / "made"), "made")
    assert key["fingerprint"]
    assert (tmp_path / "made").read_text().startswith("-----BEGIN")
    assert "made" in {row["Name"] for row in openstack(fabric, "keypair", "list")}
    openstack(fabric, "keypair", "delete", "made", as_json=False)


def test_aggregates_and_zones_by_the_client(fabric: Running) -> None:
    (host,) = (row["Hypervisor Hostname"] for row in openstack(fabric, "hypervisor", "list"))
    made = openstack(fabric, "aggregate", "create", "--zone", "north", "--property", "ssd=true", "fast")
    assert (made["availability_zone"], made["properties"]["ssd"]) == ("north", "true")
    openstack(fabric, "aggregate", "add", "host", "fast", host)
    openstack(fabric, "aggregate", "set", "--property", "rack=7", "--name", "faster", "fast", as_json=False)
    shown = openstack(fabric, "aggregate", "show", "faster")
    assert (shown["hosts"], shown["properties"]) == ([host], {"ssd": "true", "rack": "7"})
    openstack(fabric, "aggregate", "unset", "--property", "rack", "faster", as_json=False)
    (row,) = openstack(fabric, "aggregate", "list", "--long")
    assert (row["Name"], row["Availability Zone"], row["Properties"]) == ("faster", "north", {"ssd": "true"})
    openstack(fabric, "aggregate", "cache", "image", "faster", "guest", as_json=False)
    zones = {row["Zone Name"]: row["Zone Status"] for row in openstack(fabric, *ZONES)}
    assert zones == {"north": "available", "internal": "available"}
    (told,) = json.loads(fabric.cli("capacity", "--json").stdout)
    assert (told["host"], told["zone"]) == (host, "north")
    create = "server create --image guest --flavor m1.nano --network private --availability-zone north --wait"
    server = openstack(fabric, *create.split(), "zoned")
    assert server["OS-EXT-AZ:availability_zone"] == "north"
    openstack(fabric, "server", "delete", "--wait", "zoned", as_json=False)
    openstack(fabric, "aggregate", "remove", "host", "faster", host)
    openstack(fabric, "aggregate", "delete", "faster", as_json=False)
    assert openstack(fabric, "aggregate", "list") == []


def test_an_image_cached_by_the_client_is_at_the_host_before_any_server(
    fabric: Running, tmp_path: Path
) -> None:
    source = tmp_path / "ahead.raw"
    source.write_bytes(os.urandom(300_000))
    argv = ["image", "create", "--disk-format", "raw", "--container-format", "bare", "--file", str(source)]
    image = openstack(fabric, *argv, "ahead")
    (host,) = (row["Hypervisor Hostname"] for row in openstack(fabric, "hypervisor", "list"))
    openstack(fabric, "aggregate", "create", "warm")
    openstack(fabric, "aggregate", "add", "host", "warm", host)

    def cached() -> int:
        return int(json.loads(fabric.cli("node", "show", host, "--json").stdout)["images_cached"])

    before = cached()
    openstack(fabric, "aggregate", "cache", "image", "warm", "ahead", as_json=False)
    eventually(lambda: cached() == before + 1, what="the image in the host's cache")
    openstack(fabric, "aggregate", "remove", "host", "warm", host)
    openstack(fabric, "aggregate", "delete", "warm", as_json=False)
    openstack(fabric, "image", "delete", image["id"], as_json=False)


def test_server_groups_and_hints_by_the_client(fabric: Running) -> None:
    create = "server group create --policy anti-affinity --rule max_server_per_host=2 apart"
    group = openstack(fabric, *create.split())
    assert (group["policy"], group["rules"]) == ("anti-affinity", {"max_server_per_host": 2})
    boot = "server create --image guest --flavor m1.nano --network private --wait"
    by_hint = openstack(fabric, *boot.split(), "--hint", f"group={group['id']}", "by-hint")
    by_name = openstack(fabric, *boot.split(), "--server-group", "apart", "by-name")
    assert by_hint["status"] == by_name["status"] == "ACTIVE"
    shown = openstack(fabric, "server", "group", "show", "apart")
    assert set(shown["members"]) == {by_hint["id"], by_name["id"]}
    (row,) = openstack(fabric, "server", "group", "list", "--long")
    assert (row["Name"], row["Policy"]) == ("apart", "anti-affinity")
    openstack(fabric, "server", "group", "create", "--policy", "soft-affinity", "near")
    rows = openstack(fabric, "server", "group", "list", "--limit", "1", "--all-projects")
    assert [row["Name"] for row in rows] == ["apart", "near"]  # the client asks for page after page
    openstack(fabric, "server", "group", "delete", "near", as_json=False)
    hints = ("--hint", f"different_host={by_hint['id']}", "--hint", f"different_host={by_name['id']}")
    hinted = openstack(fabric, *boot.removesuffix(" --wait").split(), *hints, "elsewhere")
    for server in (by_hint, by_name, hinted):
        openstack(fabric, "server", "delete", "--wait", server["id"], as_json=False)
    openstack(fabric, "server", "group", "delete", "apart", as_json=False)
    assert openstack(fabric, "server", "group", "list") == []

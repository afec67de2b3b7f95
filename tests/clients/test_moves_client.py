"""Servers moved by the stock clients, through a whole fabric of simulated hosts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from tests.clients.test_openstack_client import CLIENT, level_of, openrc, openstack
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]
PATIENCE_S = 60.0
BY_SDK = """
import json, sys
import openstack

compute = openstack.connect(compute_default_microversion="2.95").compute
server = compute.find_server(sys.argv[1], ignore_missing=False)


def waited(*wanted):
    found = compute.wait_for_server(server, status=wanted[0], failures=["ERROR"], interval=0.1, wait=60)
    return [found.status, found.hypervisor_hostname]


before = compute.get_server(server).hypervisor_hostname
compute.migrate_server(server)
seen = [waited("VERIFY_RESIZE")]
under_way = list(compute.server_migrations(server))  # live ones alone, as everywhere
compute.revert_server_resize(server)
seen.append(waited("ACTIVE"))
compute.migrate_server(server, host=sys.argv[2])
seen.append(waited("VERIFY_RESIZE"))
compute.confirm_server_resize(server)
seen.append(waited("ACTIVE"))
moves = compute.migrations(server_id=server.id)
told = [[each.status, each.source_compute, each.dest_compute] for each in moves]
print(json.dumps({"before": before, "seen": seen, "moves": told, "under_way": under_way}))
"""


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim") as running:
        eventually(lambda: level_of(running) == THIS_PROGRAM.highest, what="the newest level")
        yield running


def moves_of(fabric: Running, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = openstack(fabric, "server", "migration", "list", "--server", name)
    return found


def others(fabric: Running, *hosts: str) -> str:
    """A host that is none of these."""
    return next(node.name for node in fabric.layout.nodes if node.name not in hosts)


def directory(fabric: Running, host: str, server_id: str) -> bool:
    return (fabric.node(host).dir / "instances" / server_id).exists()


def test_a_server_moved_and_confirmed_and_moved_back_by_the_client(fabric: Running) -> None:
    server_id = fabric.create("web", availability_zone="nova:h2")
    fabric.wait_status(server_id, "ACTIVE")
    openstack(fabric, "server", "migrate", "--wait", "--host", "h3", "web", as_json=False)
    shown = fabric.show(server_id)
    assert (shown["status"], shown["OS-EXT-SRV-ATTR:host"]) == ("VERIFY_RESIZE", "h3")
    openstack(fabric, "server", "migration", "confirm", "web", as_json=False)
    assert fabric.show(server_id)["status"] == "ACTIVE"
    eventually(lambda: not directory(fabric, "h2", server_id), what="nothing left where it was")

    openstack(fabric, "server", "migrate", "web", as_json=False)  # the client would look every five seconds
    there = fabric.wait_status(server_id, "VERIFY_RESIZE")["OS-EXT-SRV-ATTR:host"]
    assert there != "h3"
    openstack(fabric, "server", "migration", "revert", "web", as_json=False)
    shown = fabric.wait_status(server_id, "ACTIVE")
    assert shown["OS-EXT-SRV-ATTR:host"] == "h3"
    eventually(lambda: not directory(fabric, there, server_id), what="nothing left where it went")

    newest, oldest = moves_of(fabric, "web")
    assert (newest["Status"], newest["Source Compute"], newest["Dest Compute"]) == ("reverted", "h3", there)
    assert (oldest["Status"], oldest["Source Compute"], oldest["Dest Compute"]) == ("confirmed", "h2", "h3")
    assert oldest["Type"] == "migration"
    kinds = {line.split()[1] for line in fabric.cli("events", "--event", "server.move").stdout.splitlines()}
    said = {"begun", "placed", "arrived", "confirmed", "reverted"}
    assert kinds == {f"server.move_{verb}" for verb in said}
    fabric.delete(server_id)


def test_a_server_moved_by_the_sdk(fabric: Running) -> None:
    server_id = fabric.create("by-sdk", availability_zone="nova:h2")
    fabric.wait_status(server_id, "ACTIVE")
    python = CLIENT.parent / "python"
    done = subprocess.run(
        [python, "-c", BY_SDK, "by-sdk", "h3"],
        capture_output=True,
        text=True,
        timeout=200,
        env=openrc(fabric),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["before"], told["under_way"]) == ("h2", [])
    (went, there), *rest = told["seen"]
    assert (went, there in ("h1", "h3")) == ("VERIFY_RESIZE", True)
    assert rest == [["ACTIVE", "h2"], ["VERIFY_RESIZE", "h3"], ["ACTIVE", "h3"]]
    assert told["moves"] == [["confirmed", "h2", "h3"], ["reverted", "h2", there]]
    fabric.delete(server_id)


def test_a_server_evacuated_by_the_client(fabric: Running) -> None:
    server_id = fabric.create("refugee", availability_zone="nova:h3")
    before = fabric.wait_status(server_id, "ACTIVE")
    fabric.cli("dev", "kill", "h3")
    services = ("compute", "service", "list", "--host", "h3", "--service", "nova-compute")
    eventually(lambda: openstack(fabric, *services)[0]["State"] == "down", what="h3 down")
    # At 2.94: from 2.95 on the guest stays off.
    openstack(fabric, "--os-compute-api-version", "2.94", "server", "evacuate", "refugee", as_json=False)
    after = fabric.wait_status(server_id, "ACTIVE", timeout_s=PATIENCE_S)
    assert after["OS-EXT-SRV-ATTR:host"] in ("h1", "h2")
    assert after["addresses"] == before["addresses"]
    (move,) = moves_of(fabric, "refugee")
    assert (move["Type"], move["Status"], move["Source Compute"]) == ("evacuation", "done", "h3")
    assert directory(fabric, "h3", server_id)  # its host cannot drop it yet
    fabric.cli("dev", "start", "h3")
    eventually(lambda: not directory(fabric, "h3", server_id), what="its host to drop its copy")
    fabric.delete(server_id)

"""NUMA nodes and PCI devices with the stock client, against a whole fabric of two simulated hosts: one with
two cells and a device in the second, one that tells of nothing."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from fabric.core.voters.levels import THIS_PROGRAM
from tests.clients.test_openstack_client import CLIENT, level_of, openrc, openstack
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]

TOLD_S = 60.0
CREATE = "server create --image guest --network private".split()
MACHINE = """
sim_vcpus = 8
sim_memory_mb = 4096
sim_numa_cells = 2
sim_pci_devices = ["0000:81:00.0 10de:1db4 1"]
cpu_dedicated_set = "3,7"
"""
PCI = """
[[pci.device_spec]]
vendor_id = "10de"
[[pci.alias]]
name = "gpu"
vendor_id = "10de"
product_id = "1db4"
numa_policy = "required"
"""


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=2) as running:
        running.dev.kill("h2", signal.SIGKILL)
        file = running.node("h2").config
        before = file.read_text()
        for machine, pci, said in (
            ("\nsim_numa_cells = 65\n", "", "compute.sim_numa_cells: 65 must be 0 to compute.sim_vcpus"),
            (
                '\nsim_pci_devices = ["gpu"]\n',
                "",
                "compute.sim_pci_devices: 'gpu' must be address, ids and cell",
            ),
            ("\n", '\n[pci]\nalias = [{ name = "gpu" }]\n', "pci.alias[0]: alias gpu names no device"),
            (MACHINE, PCI, ""),
        ):
            kept = before.replace("[pci]\n", "") if pci else before
            file.write_text(kept.replace("[compute]\n", f"[compute]{machine}") + pci)
            if said:
                refused = running.cli("agent", "--config", str(file), check=False)
                assert refused.returncode == 1
                assert said in refused.stderr
        running.dev.start("h2")
        eventually(lambda: level_of(running) == THIS_PROGRAM.highest, timeout_s=TOLD_S, what="the level")
        yield running


def flavor(running: Running, name: str, *specs: str, vcpus: int = 2, ram: int = 512) -> None:
    properties = [word for spec in specs for word in ("--property", spec)]
    size = ["--vcpus", str(vcpus), "--ram", str(ram), "--disk", "0"]
    openstack(running, "flavor", "create", *size, *properties, name)


def fitting(running: Running, name: str) -> dict[str, int]:
    """By host, how many more of the flavor."""
    rooms = json.loads(running.cli("capacity", "--by", "host", "--flavor", name, "--json").stdout)["rooms"]
    return {room["host"]: room["fits"] for room in rooms}


def host_of(running: Running, name: str) -> Any:
    return openstack(running, "server", "show", name)["OS-EXT-SRV-ATTR:host"]


def fails(running: Running, name: str) -> str:
    """Why it found no host."""
    eventually(
        lambda: openstack(running, "server", "show", name)["status"] == "ERROR",
        timeout_s=TOLD_S,
        what="no host",
    )
    return running.cli("why", name).stdout


def test_a_server_of_two_nodes_lands_where_there_are_two_cells(fabric: Running) -> None:
    flavor(fabric, "two-nodes", "hw:numa_nodes=2")
    flavor(fabric, "wide", "hw:numa_nodes=1", vcpus=4)
    eventually(lambda: fitting(fabric, "two-nodes")["h2"], timeout_s=TOLD_S, what="the offer of cells")
    assert fitting(fabric, "two-nodes")["h1"] == 0
    assert fitting(fabric, "wide") == {"h1": 0, "h2": 0}  # each cell has three processors that are shared
    assert openstack(fabric, *CREATE, "--flavor", "two-nodes", "--wait", "nodes")["status"] == "ACTIVE"
    assert host_of(fabric, "nodes") == "h2"
    log = openstack(fabric, "console", "log", "show", "nodes", as_json=False)
    assert "node 0: cpus 0, 256 MB" in log
    assert "node 1: cpus 1, 256 MB" in log
    openstack(fabric, *CREATE, "--flavor", "wide", "wide")
    assert "1 NUMA node of 4 CPUs and 512 MB wanted" in fails(fabric, "wide")
    openstack(fabric, "server", "delete", "--wait", "wide", "nodes", as_json=False)


def test_a_device_is_one_servers_until_it_is_gone(fabric: Running) -> None:
    flavor(fabric, "gpu", "pci_passthrough:alias=gpu:1", "hw:numa_nodes=1", vcpus=1)
    eventually(lambda: fitting(fabric, "gpu") == {"h1": 0, "h2": 1}, timeout_s=TOLD_S, what="the offer of it")
    assert openstack(fabric, *CREATE, "--flavor", "gpu", "--wait", "one")["status"] == "ACTIVE"
    assert host_of(fabric, "one") == "h2"
    log = openstack(fabric, "console", "log", "show", "one", as_json=False)
    assert "device 0000:81:00.0 of the host" in log
    assert fitting(fabric, "gpu") == {"h1": 0, "h2": 0}
    openstack(fabric, *CREATE, "--flavor", "gpu", "two")
    assert "not enough PCI devices gpu (needs 1 devices gpu, at most 0 free)" in fails(fabric, "two")
    openstack(fabric, "server", "delete", "--wait", "one", "two", as_json=False)
    assert openstack(fabric, *CREATE, "--flavor", "gpu", "--wait", "three")["status"] == "ACTIVE"
    openstack(fabric, "server", "reboot", "--hard", "--wait", "three", as_json=False)
    openstack(fabric, "server", "delete", "--wait", "three", as_json=False)


def test_dedicated_processors_are_of_one_cell(fabric: Running) -> None:
    flavor(fabric, "pinned", "hw:cpu_policy=dedicated", vcpus=1, ram=64)
    flavor(fabric, "pinned-2", "hw:cpu_policy=dedicated", ram=64)
    flavor(fabric, "pinned-across", "hw:cpu_policy=dedicated", "hw:numa_nodes=2", ram=64)
    eventually(lambda: fitting(fabric, "pinned")["h2"] == 2, timeout_s=TOLD_S, what="the offer of PCPUs")
    assert fitting(fabric, "pinned-2") == {"h1": 0, "h2": 0}  # there is one in each cell
    assert fitting(fabric, "pinned-across") == {"h1": 0, "h2": 1}
    across = openstack(fabric, *CREATE, "--flavor", "pinned-across", "--wait", "across")
    assert across["status"] == "ACTIVE"
    domain = fabric.node("h2").dir / "instances" / across["id"] / "domain.json"
    assert json.loads(domain.read_text())["pins"][0] == [3, 7]
    openstack(fabric, "server", "delete", "--wait", "across", as_json=False)


def test_a_flavor_that_cannot_be_is_refused_at_once(fabric: Running) -> None:
    flavor(fabric, "odd", "hw:numa_nodes=2", vcpus=3)
    done = subprocess.run(
        [str(CLIENT), *CREATE, "--flavor", "odd", "odd"],
        capture_output=True,
        text=True,
        timeout=400,
        env=openrc(fabric),
        cwd=fabric.directory,
    )
    assert done.returncode == 1
    assert "cannot be evenly distributed across instance NUMA nodes" in done.stderr

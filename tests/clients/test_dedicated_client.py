"""Dedicated processors with the stock client, against a whole fabric whose host has set two apart."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.clients.test_openstack_client import CLIENT, openstack
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]

OFFERED_S = 30.0


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    """Its one node began again after somebody set processors apart, twice wrong and then right."""
    with running_fabric("sim", nodes=1) as running:
        running.dev.kill("h1", signal.SIGKILL)
        file = running.node("h1").config
        before = file.read_text()
        assert before.count("[compute]\n") == 1
        for value, said in (
            ("2-99", "compute.cpu_dedicated_set: this machine has no processor 64-99; it has 0-63"),
            ("two", "compute.cpu_dedicated_set: 'two' is no processor's number"),
            ("2-3", ""),
        ):
            file.write_text(before.replace("[compute]\n", f'[compute]\ncpu_dedicated_set = "{value}"\n'))
            if said:
                refused = running.cli("agent", "--config", str(file), check=False)
                assert refused.returncode == 1
                assert said in refused.stderr
        running.dev.start("h1")
        yield running


def by_class(rows: list[dict[str, object]], column: str) -> dict[object, object]:
    return {row["resource_class"]: row[column] for row in rows}


def test_a_server_has_its_own_and_the_next_is_told_there_are_none(fabric: Running) -> None:
    (host,) = openstack(fabric, "resource", "provider", "list")
    inventory = ("resource", "provider", "inventory", "list", host["uuid"])
    eventually(
        lambda: "PCPU" in by_class(openstack(fabric, *inventory), "total"),
        timeout_s=OFFERED_S,
        what="its offer",
    )
    total = by_class(openstack(fabric, *inventory), "total")
    assert (total["VCPU"], total["PCPU"]) == (62, 2)
    flavor = "flavor create --vcpus 2 --ram 64 --disk 0 --property hw:cpu_policy=dedicated pinned"
    openstack(fabric, *flavor.split())
    create = "server create --image guest --flavor pinned --network private --wait".split()
    assert openstack(fabric, *create, "one")["status"] == "ACTIVE"
    used = by_class(openstack(fabric, "resource", "provider", "usage", "show", host["uuid"]), "usage")
    assert (used["VCPU"], used["PCPU"]) == (0, 2)
    shown = openstack(fabric, "--os-compute-api-version", "2.87", "hypervisor", "show", host["name"])
    assert (shown["vcpus"], shown["vcpus_used"]) == (64, 2)
    assert "PCPU 2/2" in fabric.cli("capacity", "--by", "host").stdout

    openstack(fabric, *create[:-1], "two")
    eventually(
        lambda: openstack(fabric, "server", "show", "two")["status"] == "ERROR",
        timeout_s=OFFERED_S,
        what="no host",
    )
    assert "dedicated processors" in fabric.cli("why", "two").stdout
    openstack(fabric, "server", "delete", "--wait", "one", "two", as_json=False)
    assert openstack(fabric, *create, "three")["status"] == "ACTIVE"

"""The stock client's Placement commands, against a whole fabric whose host has a provider.yaml."""

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

PROVIDER_YAML = """\
meta:
  schema_version: '1.0'
providers:
  - identification: {uuid: $COMPUTE_NODE}
    inventories:
      additional:
        - CUSTOM_FPGA: {total: 4, max_unit: 2}
    traits:
      additional: [CUSTOM_SSD]
"""
OFFERED_S = 30.0
NEWEST = ("--os-placement-api-version", "1.39")


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    """Its one node began again after somebody wrote the file, once wrong and then right."""
    with running_fabric("sim", nodes=1) as running:
        file = running.node("h1").config.parent / "provider_config" / "fpga.yaml"
        file.parent.mkdir()
        file.write_text(PROVIDER_YAML.replace("total: 4", "total: four"))
        running.dev.kill("h1", signal.SIGKILL)
        refused = running.cli("agent", "--config", str(running.node("h1").config), check=False)
        assert refused.returncode == 1
        assert f"{file}:7: CUSTOM_FPGA.total must be a whole number" in refused.stderr
        file.write_text(PROVIDER_YAML)
        running.dev.start("h1")
        yield running


def test_a_host_and_its_servers(fabric: Running) -> None:
    (host,) = openstack(fabric, "resource", "provider", "list")
    (hypervisor,) = openstack(fabric, "hypervisor", "list")
    assert (host["uuid"], host["name"]) == (hypervisor["ID"], hypervisor["Hypervisor Hostname"])
    uuid = host["uuid"]
    eventually(lambda: "CUSTOM_SSD" in traits_of(fabric, uuid), timeout_s=OFFERED_S, what="its offer")
    stock = {
        row["resource_class"]: row["total"]
        for row in openstack(fabric, "resource", "provider", "inventory", "list", uuid)
    }
    assert set(stock) == {"VCPU", "MEMORY_MB", "DISK_GB", "CUSTOM_FPGA"}
    assert stock["CUSTOM_FPGA"] == 4
    assert openstack(fabric, "resource", "provider", "show", uuid)["name"] == host["name"]
    assert openstack(fabric, *NEWEST, "resource", "provider", "aggregate", "list", uuid) == []

    create = "server create --image guest --flavor m1.nano --network private --wait web"
    server = openstack(fabric, *create.split())
    usage = openstack(fabric, "resource", "provider", "usage", "show", uuid)
    used = {row["resource_class"]: row["usage"] for row in usage}
    assert (used["VCPU"], used["CUSTOM_FPGA"]) == (1, 0)
    (held,) = openstack(fabric, "resource", "provider", "allocation", "show", server["id"])
    assert (held["resource_provider"], held["resources"]["VCPU"]) == (uuid, 1)
    openstack(fabric, "server", "delete", "--wait", "web", as_json=False)
    assert openstack(fabric, "resource", "provider", "allocation", "show", server["id"]) == []

    query = ("allocation", "candidate", "list", "--resource", "VCPU=1", "--resource", "CUSTOM_FPGA=2")
    found = openstack(fabric, *NEWEST, *query, "--required", "CUSTOM_SSD")
    assert [row["resource provider"] for row in found] == [uuid]
    assert openstack(fabric, *NEWEST, *query, "--forbidden", "CUSTOM_SSD") == []


def test_servers_take_what_a_host_offers_while_there_is_some(fabric: Running) -> None:
    flavor = "flavor create --vcpus 1 --ram 64 --disk 0 --property resources:CUSTOM_FPGA=2 fpga"
    openstack(fabric, *flavor.split())
    create = "server create --image guest --flavor fpga --network private --wait"
    for name in ("one", "two"):
        assert openstack(fabric, *create.split(), name)["status"] == "ACTIVE"
    (host,) = openstack(fabric, "resource", "provider", "list")
    usage = openstack(fabric, "resource", "provider", "usage", "show", host["uuid"])
    assert {row["resource_class"]: row["usage"] for row in usage}["CUSTOM_FPGA"] == 4
    third = openstack(fabric, *create.replace("--wait", "").split(), "three")
    fabric.wait_status(third["id"], "ERROR")
    fault = openstack(fabric, "server", "show", "three")["fault"]
    assert fault["message"].startswith("No valid host was found.")
    openstack(fabric, "server", "delete", "--wait", "one", "two", "three", as_json=False)
    usage = openstack(fabric, "resource", "provider", "usage", "show", host["uuid"])
    assert {row["resource_class"]: row["usage"] for row in usage}["CUSTOM_FPGA"] == 0


def test_classes_and_traits(fabric: Running) -> None:
    openstack(fabric, *NEWEST, "resource", "class", "create", "CUSTOM_GOLD", as_json=False)
    names = {row["name"] for row in openstack(fabric, *NEWEST, "resource", "class", "list")}
    assert names >= {"VCPU", "CUSTOM_GOLD"}
    openstack(fabric, *NEWEST, "resource", "class", "delete", "CUSTOM_GOLD", as_json=False)
    openstack(fabric, *NEWEST, "trait", "create", "CUSTOM_SHINY", as_json=False)
    names = {row["name"] for row in openstack(fabric, *NEWEST, "trait", "list")}
    assert names >= {"HW_CPU_X86_AVX2", "CUSTOM_SHINY"}
    openstack(fabric, *NEWEST, "trait", "delete", "CUSTOM_SHINY", as_json=False)


def test_a_provider_from_outside(fabric: Running) -> None:
    def ask(*argv: str, as_json: bool = True) -> object:
        return openstack(fabric, *NEWEST, *argv, as_json=as_json)

    (host,) = openstack(fabric, "resource", "provider", "list")
    made = openstack(
        fabric, *NEWEST, "resource", "provider", "create", "--parent-provider", host["uuid"], "card"
    )
    uuid = made["uuid"]
    assert made["root_provider_uuid"] == host["uuid"]
    ask("resource", "provider", "inventory", "set", uuid, "--resource", "VGPU=4", "--resource",
        "VGPU:max_unit=2")  # fmt: skip
    ask("resource", "provider", "inventory", "class", "set", uuid, "VGPU", "--total", "8")
    ask("resource", "provider", "trait", "set", uuid, "--trait", "HW_GPU_API_VULKAN")
    assert traits_of(fabric, uuid) == {"HW_GPU_API_VULKAN"}
    consumer = "0e0e0e0e-0e0e-4e0e-8e0e-0e0e0e0e0e0e"
    held = openstack(
        fabric, *NEWEST, "resource", "provider", "allocation", "set", consumer, "--allocation",
        f"rp={uuid},VGPU=2", "--project-id", "p", "--user-id", "u", "--consumer-type", "CARD",
    )  # fmt: skip
    assert held[0]["resources"] == {"VGPU": 2}
    shown = openstack(fabric, *NEWEST, "resource", "provider", "show", "--allocations", uuid)
    assert shown["allocations"][consumer]["resources"] == {"VGPU": 2}
    found = openstack(fabric, *NEWEST, "allocation", "candidate", "list", "--resource", "VGPU=2")
    assert uuid in {row["resource provider"] for row in found}
    ask("resource", "provider", "allocation", "delete", consumer, as_json=False)
    ask("resource", "provider", "inventory", "delete", uuid, as_json=False)
    ask("resource", "provider", "delete", uuid, as_json=False)
    assert [row["uuid"] for row in openstack(fabric, "resource", "provider", "list")] == [host["uuid"]]


def traits_of(fabric: Running, uuid: str) -> set[str]:
    found = openstack(fabric, *NEWEST, "resource", "provider", "trait", "list", uuid)
    return {row["name"] for row in found}

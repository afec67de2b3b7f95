"""A machine gets another name, with real agents: the same node, the same guests, no duplicates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from fabric import config as configuration
from tests.fixtures.dev_fabric import Running, eventually, running_fabric

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=2) as running:
        yield running


def renamed(fabric: Running, node: str, name: str) -> None:
    """`node` is the directory's name, which stays."""
    path = fabric.node(node).config
    config = configuration.load(path).config
    path.write_text(configuration.render(replace(config, node=replace(config.node, name=name))))
    fabric.cli("dev", "kill", node)
    fabric.cli("dev", "start", node)


def members(fabric: Running, by: str) -> dict[str, str]:
    return {row["name"]: row["id"] for row in fabric.local(by).get("/members") if row["state"] == "alive"}


def named_by_api(fabric: Running, what: str, *keys: str) -> list[str]:
    """Sorted: a duplicate is seen."""
    found: Any = fabric.cloud().get(what)
    return sorted(row[keys[-1]] for row in found[keys[0]])


def told(fabric: Running, by: str, event: str) -> list[dict[str, Any]]:
    return [row for row in fabric.local(by).get("/events") if row["event"] == event]


def test_a_host_is_renamed_with_its_guests(fabric: Running) -> None:
    server = fabric.create("kept", availability_zone="nova:h2")
    before = fabric.wait_status(server, "ACTIVE")
    assert before["OS-EXT-SRV-ATTR:host"] == "h2"
    node_id = members(fabric, "h1")["h2"]
    cloud = fabric.cloud()
    (provider,) = cloud.get("/placement/resource_providers?name=h2")["resource_providers"]
    aggregate = cloud.post("/compute/v2.1/os-aggregates", {"aggregate": {"name": "rack"}})["aggregate"]
    act = f"/compute/v2.1/os-aggregates/{aggregate['id']}"
    cloud.post(f"{act}/action", {"add_host": {"host": "h2"}})
    renamed(fabric, "h2", "h1")  # which is taken: it lives on as h2, and says why
    eventually(lambda: told(fabric, "h2", "node.rename_waits"), what="h2 says why it keeps its name")
    (waits,) = told(fabric, "h2", "node.rename_waits")
    assert "Another node is already named h1" in waits["reason"]
    assert members(fabric, "h1")["h2"] == node_id
    assert "name_wanted=h1" in fabric.cli("node", "show", node_id, "--node", "h1").stdout
    renamed(fabric, "h2", "h2new")

    def is_renamed(by: str) -> bool:
        return members(fabric, by).get("h2new") == node_id

    for by in ("h1", "h2"):
        eventually(partial(is_renamed, by), what=f"{by} knows h2new")
        assert len(members(fabric, by)) == 2
    after = fabric.show(server)
    assert (after["status"], after["OS-EXT-SRV-ATTR:host"]) == ("ACTIVE", "h2new")
    assert after["OS-EXT-STS:power_state"] == 1
    assert named_by_api(fabric, "/compute/v2.1/os-hypervisors", "hypervisors", "hypervisor_hostname") == [
        "h1",
        "h2new",
    ]
    services = "/compute/v2.1/os-services?binary=nova-compute"
    assert named_by_api(fabric, services, "services", "host") == ["h1", "h2new"]
    (same,) = cloud.get("/placement/resource_providers?name=h2new")["resource_providers"]
    assert same["uuid"] == provider["uuid"]
    assert cloud.get("/placement/resource_providers?name=h2")["resource_providers"] == []
    assert cloud.get(act)["aggregate"]["hosts"] == ["h2new"]
    assert [row["id"] for row in told(fabric, "h1", "node.renamed")] == [node_id]
    fabric.act(server, {"os-stop": None})
    fabric.wait_status(server, "SHUTOFF")
    more = fabric.create("more", availability_zone="nova:h2new")
    fabric.wait_status(more, "ACTIVE")
    for each in (server, more):
        fabric.delete(each)


def test_the_conductor_is_renamed(fabric: Running) -> None:
    node_id = members(fabric, "h2")["h1"]
    renamed(fabric, "h1", "chief")
    eventually(lambda: members(fabric, "h2").get("chief") == node_id, what="h2 knows chief")
    assert named_by_api(fabric, "/compute/v2.1/os-hypervisors", "hypervisors", "hypervisor_hostname") == [
        "chief",
        "h2new",
    ]
    server = fabric.create("on-chief", availability_zone="nova:chief")
    assert fabric.wait_status(server, "ACTIVE")["OS-EXT-SRV-ATTR:host"] == "chief"
    fabric.delete(server)

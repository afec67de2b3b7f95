"""Quotas and unified limits by the stock `openstack` client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.clients.test_openstack_client import CLIENT, openstack
from tests.fixtures.dev_fabric import Running, running_fabric

pytestmark = [
    pytest.mark.clients,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CLIENT.exists(), reason="no .venv-clients: run `make setup`"),
]


@pytest.fixture(scope="module")
def fabric() -> Iterator[Running]:
    with running_fabric("sim", nodes=1) as running:
        openstack(running, "project", "create", "blue")
        yield running


def quotas(fabric: Running, *argv: str) -> dict[str, dict[str, Any]]:
    return {row["Resource"]: row for row in openstack(fabric, "quota", "show", *argv)}


def words(fabric: Running, text: str) -> Any:
    return openstack(fabric, *text.split())


def silent(fabric: Running, text: str) -> None:
    openstack(fabric, *text.split(), as_json=False)


def test_quotas_of_a_project(fabric: Running) -> None:
    silent(fabric, "quota set --instances 7 --cores 9 --ram 4096 --ports 40 blue")
    shown = quotas(fabric, "blue")
    assert [shown[name]["Limit"] for name in ("instances", "cores", "ram", "ports")] == [7, 9, 4096, 40]
    used = quotas(fabric, "--usage", "--compute", "blue")
    assert used["instances"] == {"Resource": "instances", "Limit": 7, "In Use": 0, "Reserved": 0}
    assert quotas(fabric, "--default", "--compute", "blue")["instances"]["Limit"] == 10
    for kind, column, limit in (("--compute", "Instances", 7), ("--network", "Ports", 40)):
        rows = openstack(fabric, "quota", "list", kind)
        assert [row[column] for row in rows if row[column] == limit] == [limit]
    silent(fabric, "quota delete blue")
    shown = quotas(fabric, "blue")
    assert (shown["instances"]["Limit"], shown["ports"]["Limit"]) == (10, 500)


def test_a_quota_below_what_is_used_takes_force(fabric: Running) -> None:
    server = fabric.create("holds-one")
    fabric.wait_status(server, "ACTIVE")
    used = quotas(fabric, "--usage", "--compute")
    assert used["instances"]["In Use"] == len(openstack(fabric, "server", "list"))
    with pytest.raises(AssertionError, match="already used"):
        silent(fabric, "quota set --instances 0 admin")
    silent(fabric, "quota set --instances 0 --force admin")
    with pytest.raises(AssertionError, match="Quota exceeded for instances"):
        words(fabric, "server create --image guest --flavor m1.nano --network private more")
    silent(fabric, "quota delete --compute admin")
    fabric.delete(server)


def test_the_default_class(fabric: Running) -> None:
    silent(fabric, "quota set --default --instances 8")
    assert quotas(fabric, "--compute", "blue")["instances"]["Limit"] == 8
    (row,) = words(fabric, "registered limit list --service nova --resource-name servers")
    assert row["Default Limit"] == 8
    with pytest.raises(
        AssertionError, match="has been deprecated"
    ):  # the client's word, after it has done it
        silent(fabric, "quota set --class --instances 10 default")
    assert quotas(fabric, "--default", "--compute", "blue")["instances"]["Limit"] == 10


def test_registered_limits_and_limits(fabric: Running) -> None:
    made = words(
        fabric, "registered limit create --service nova --default-limit 6 --description ours servers"
    )
    assert (made["resource_name"], made["default_limit"], made["description"]) == ("servers", 6, "ours")
    assert quotas(fabric, "--compute", "blue")["instances"]["Limit"] == 6
    disk = words(fabric, "registered limit create --service nova --default-limit 100 class:DISK_GB")
    changed = words(fabric, f"registered limit set --default-limit 5 {made['id']}")
    assert changed["default_limit"] == 5
    assert words(fabric, f"registered limit show {made['id']}")["default_limit"] == 5
    rows = {row["Resource Name"]: row for row in words(fabric, "registered limit list")}
    assert (rows["servers"]["ID"], rows["servers"]["Default Limit"]) == (made["id"], 5)
    assert rows["class:VCPU"]["Default Limit"] == 20

    limit = words(fabric, "limit create --project blue --service nova --resource-limit 3 servers")
    assert limit["resource_limit"] == 3
    assert quotas(fabric, "--compute", "blue")["instances"]["Limit"] == 3
    silent(fabric, "quota set --instances 4 blue")
    assert words(fabric, f"limit show {limit['id']}")["resource_limit"] == 4
    assert words(fabric, f"limit set --resource-limit 2 {limit['id']}")["resource_limit"] == 2
    (row,) = words(fabric, "limit list --project blue")
    assert (row["Resource Name"], row["Resource Limit"]) == ("servers", 2)
    with pytest.raises(AssertionError, match="there are project limits"):
        silent(fabric, f"registered limit delete {made['id']}")
    silent(fabric, f"limit delete {limit['id']}")
    assert words(fabric, "limit list --project blue") == []
    silent(fabric, f"registered limit delete {made['id']} {disk['id']}")
    assert quotas(fabric, "--compute", "blue")["instances"]["Limit"] == 10

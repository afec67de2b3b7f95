"""What admins look at and turn: quotas, zones, services, hypervisors; and what old clients probe for."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.membership.model import MemberState
from tests.api.compute.world import HOSTS, World

UUIDS = [f"{host[:8]}-{host[8:12]}-{host[12:16]}-{host[16:20]}-{host[20:]}" for host in HOSTS]


async def test_limits_by_version(world: World) -> None:
    await world.boot(world.alice)
    always = {
        "maxTotalInstances",
        "maxTotalCores",
        "maxTotalRAMSize",
        "maxServerMeta",
        "maxTotalKeypairs",
        "maxServerGroups",
        "maxServerGroupMembers",
        "totalInstancesUsed",
        "totalCoresUsed",
        "totalRAMUsed",
        "totalServerGroupsUsed",
    }
    network = {
        "maxTotalFloatingIps",
        "maxSecurityGroups",
        "maxSecurityGroupRules",
        "totalFloatingIpsUsed",
        "totalSecurityGroupsUsed",
    }
    files = {"maxPersonality", "maxPersonalitySize"}
    for minor, expected in (
        (1, always | network | files | {"maxImageMeta"}),
        (35, always | network | files | {"maxImageMeta"}),
        (36, always | files | {"maxImageMeta"}),
        (39, always | files),
        (57, always),
        (96, always),
    ):
        limits = (await world.alice.at(f"2.{minor}").get("/limits")).json["limits"]
        assert limits["rate"] == []
        assert set(limits["absolute"]) == expected, minor
    assert limits["absolute"]["totalInstancesUsed"] == 1
    assert limits["absolute"]["totalRAMUsed"] == 512
    assert limits["absolute"]["maxTotalInstances"] == 10
    other = f"/limits?tenant_id={world.alice.project_id}"
    assert (await world.admin.get(other)).json["limits"]["absolute"]["totalCoresUsed"] == 1
    assert (await world.bob.get(other)).status == 403
    assert (await world.alice.at("2.75").get("/limits?unknown=1")).status == 400


async def test_quota_sets(world: World) -> None:
    project = world.alice.project_id
    path = f"/os-quota-sets/{project}"
    await world.boot(world.alice)
    always = {
        "instances",
        "cores",
        "ram",
        "metadata_items",
        "key_pairs",
        "server_groups",
        "server_group_members",
    }
    network = {"fixed_ips", "floating_ips", "security_groups", "security_group_rules"}
    files = {"injected_files", "injected_file_content_bytes", "injected_file_path_bytes"}
    for minor, expected in ((1, always | network | files), (36, always | files), (57, always)):
        person = world.alice.at(f"2.{minor}")
        assert set((await person.get(path)).json["quota_set"]) == expected | {"id"}
        assert set((await person.get(f"{path}/defaults")).json["quota_set"]) == expected | {"id"}
        assert set((await person.get(f"{path}/detail")).json["quota_set"]) == expected | {"id"}
    detail = (await world.alice.get(f"{path}/detail")).json["quota_set"]
    assert detail["instances"] == {"limit": 10, "in_use": 1, "reserved": 0}
    body = {"quota_set": {"instances": 5, "cores": "-1", "tenant_id": project}}
    assert (await world.alice.put(path, body)).status == 403
    answer = await world.admin.put(path, body)
    assert answer.status == 200
    assert (answer.json["quota_set"]["instances"], answer.json["quota_set"]["cores"]) == (5, -1)
    assert "id" not in answer.json["quota_set"]
    assert (await world.alice.get(f"{path}/defaults")).json["quota_set"]["instances"] == 10
    answer = await world.admin.put(path, {"quota_set": {"instances": 0}})
    assert answer.status == 400
    assert answer.fault[1] == (
        "Quota limit 0 for instances must be greater than or equal to already used and reserved 1."
    )
    assert (await world.admin.put(path, {"quota_set": {"instances": 0, "force": True}})).status == 200
    assert (await world.admin.delete(path)).status == 202
    assert (await world.alice.get(path)).json["quota_set"]["instances"] == 10
    assert (await world.bob.get(path)).status == 403
    assert (await world.bob.get(f"{path}/detail")).status == 403


BAD_QUOTAS: list[tuple[Any, ...]] = [
    ("2.1", {"instances": -2}),
    ("2.1", {"instances": "-2"}),
    ("2.1", {"instances": 2**40}),
    ("2.1", {"instances": "lots"}),
    ("2.1", {"instances": None}),
    ("2.1", {"unknown": 1}),
    ("2.36", {"floating_ips": 5}),
    ("2.57", {"injected_files": 5}),
]


async def test_quotas_that_cannot_be(world: World) -> None:
    for version, quota in BAD_QUOTAS:
        path = f"/os-quota-sets/{world.alice.project_id}"
        answer = await world.admin.at(version).put(path, {"quota_set": quota})
        assert answer.status == 400
        assert next(iter(quota)) in answer.fault[1]
        answer = await world.admin.put("/os-quota-sets/nobody", {"quota_set": {"instances": 1}})
        assert answer.status == 400
        assert "nobody" in answer.fault[1]


async def test_zones(world: World) -> None:
    zones = (await world.alice.get("/os-availability-zone")).json["availabilityZoneInfo"]
    assert zones == [
        {"zoneName": "nova", "zoneState": {"available": True}, "hosts": None},
        {"zoneName": "rack2", "zoneState": {"available": True}, "hosts": None},
    ]
    assert (await world.alice.get("/os-availability-zone/detail")).status == 403
    world.fleet.silent.add(HOSTS[1])
    zones = (await world.admin.get("/os-availability-zone/detail")).json["availabilityZoneInfo"]
    assert [zone["zoneName"] for zone in zones] == ["internal", "nova", "rack2"]
    assert zones[1]["hosts"]["h1"]["nova-compute"]["available"] is True
    assert zones[1]["hosts"]["h2"]["nova-compute"]["available"] is False
    assert set(zones[0]["hosts"]["h1"]) == {"nova-conductor", "nova-scheduler", "nova-api"}
    await world.admin.at("2.53").put(f"/os-services/{await uuid_of(world, 'h3')}", {"status": "disabled"})
    zones = (await world.alice.get("/os-availability-zone")).json["availabilityZoneInfo"]
    assert [zone["zoneState"]["available"] for zone in zones] == [True, False]


async def uuid_of(world: World, host: str, binary: str = "nova-compute") -> str:
    found = await world.admin.at("2.53").get(f"/os-services?host={host}&binary={binary}")
    (service,) = found.json["services"]
    return str(service["id"])


async def test_services(world: World) -> None:
    assert (await world.alice.get("/os-services")).status == 403
    base = {"id", "binary", "host", "zone", "status", "state", "updated_at", "disabled_reason"}
    for minor, extra in ((1, set()), (11, {"forced_down"}), (53, {"forced_down"}), (96, {"forced_down"})):
        services = (await world.admin.at(f"2.{minor}").get("/os-services")).json["services"]
        assert all(set(service) == base | extra for service in services)
        ids = [service["id"] for service in services]
        assert len(set(ids)) == len(ids)
        assert all(isinstance(each, str if minor >= 53 else int) for each in ids)
    computes = [service["host"] for service in services if service["binary"] == "nova-compute"]
    assert computes == ["h1", "h2", "h3"]
    assert {service["binary"] for service in services} == {
        "nova-compute",
        "nova-conductor",
        "nova-scheduler",
        "nova-api",
    }
    world.fleet.silent.add(HOSTS[2])
    found = (await world.admin.get("/os-services?host=h3&binary=nova-compute")).json["services"]
    assert [(service["state"], service["zone"]) for service in found] == [("down", "rack2")]


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (MemberState.ALIVE, "up"),
        (MemberState.SUSPECT, "up"),  # a question
        (MemberState.STALLED, "down"),  # its guests run, and it does nothing anybody asks of it
        (MemberState.LEAVING, "down"),
        (MemberState.AGENT_DOWN, "down"),
    ],
)
async def test_a_service_is_up_while_its_agent_answers(world: World, state: MemberState, told: str) -> None:
    world.fleet.states[HOSTS[1]] = state
    services = (await world.admin.get("/os-services?host=h2")).json["services"]
    assert {service["state"] for service in services} == {told}
    assert (await world.admin.get("/os-hypervisors/2")).json["hypervisor"]["state"] == told


async def test_services_are_switched_by_uuid_from_2_53(world: World) -> None:
    path = f"/os-services/{await uuid_of(world, 'h1')}"
    admin = world.admin.at("2.53")
    answer = await admin.put(path, {"status": "disabled", "disabled_reason": "new disks"})
    assert answer.status == 200
    service = answer.json["service"]
    assert (service["status"], service["disabled_reason"]) == ("disabled", "new disks")
    service = (await admin.put(path, {"status": "enabled"})).json["service"]
    assert (service["status"], service["disabled_reason"]) == ("enabled", None)
    service = (await admin.put(path, {"forced_down": True})).json["service"]
    assert (service["forced_down"], service["state"]) == (True, "down")
    service = (await admin.put(path, {"forced_down": "false"})).json["service"]
    assert (service["forced_down"], service["state"]) == (False, "up")
    for bad in (
        {},
        {"status": "tired"},
        {"disabled_reason": "why"},
        {"status": "disabled", "disabled_reason": "r" * 256},
        {"x": 1},
    ):
        assert (await admin.put(path, bad)).status == 400
    assert (await admin.put("/os-services/7", {"status": "enabled"})).status == 400
    missing = "99999999-9999-4999-8999-999999999999"
    assert (await admin.put(f"/os-services/{missing}", {"status": "enabled"})).status == 404
    conductor = await uuid_of(world, "h1", "nova-conductor")
    answer = await admin.put(f"/os-services/{conductor}", {"status": "disabled"})
    assert answer.status == 400
    assert "nova-conductor" in answer.fault[1]
    assert (await world.alice.at("2.53").put(path, {"status": "disabled"})).status == 403
    answer = await admin.delete(path)
    assert answer.status == 409
    assert "Remove the node" in answer.fault[1]


async def test_services_are_switched_by_name_below_2_53(world: World) -> None:
    named = {"host": "h2", "binary": "nova-compute"}
    answer = await world.admin.put("/os-services/disable", named)
    assert answer.json == {"service": named | {"status": "disabled"}}
    answer = await world.admin.put("/os-services/disable-log-reason", named | {"disabled_reason": "why"})
    assert answer.json == {"service": named | {"status": "disabled", "disabled_reason": "why"}}
    assert (await world.admin.put("/os-services/enable", named)).json["service"]["status"] == "enabled"
    body = named | {"forced_down": True}
    assert (await world.admin.at("2.10").put("/os-services/force-down", body)).status == 404
    answer = await world.admin.at("2.11").put("/os-services/force-down", body)
    assert answer.json == {"service": body}
    assert (await world.admin.put("/os-services/enable", named | {"host": "h9"})).status == 404
    assert (await world.admin.put("/os-services/enable", {"host": "h2"})).status == 400
    assert (await world.admin.at("2.53").put("/os-services/enable", named)).status == 404
    assert (await world.alice.put("/os-services/enable", named)).status == 403


CAPACITY = {
    "vcpus",
    "vcpus_used",
    "memory_mb",
    "memory_mb_used",
    "free_ram_mb",
    "local_gb",
    "local_gb_used",
    "free_disk_gb",
    "disk_available_least",
    "current_workload",
    "running_vms",
    "cpu_info",
}
BRIEF = {"id", "hypervisor_hostname", "state", "status"}
DETAIL = BRIEF | {"host_ip", "hypervisor_type", "hypervisor_version", "service"}


async def test_hypervisors_by_version(world: World) -> None:
    await world.active(world.alice, host=1)
    for minor, expected in ((1, DETAIL | CAPACITY), (87, DETAIL | CAPACITY), (88, DETAIL | {"uptime"})):
        admin = world.admin.at(f"2.{minor}")
        assert all(set(each) == BRIEF for each in (await admin.get("/os-hypervisors")).json["hypervisors"])
        details = (await admin.get("/os-hypervisors/detail")).json["hypervisors"]
        assert all(set(each) == expected for each in details)
        identity = UUIDS[1] if minor >= 53 else details[1]["id"]
        shown = (await admin.get(f"/os-hypervisors/{identity}")).json["hypervisor"]
        assert set(shown) == expected
        assert shown["hypervisor_hostname"] == "h2"
    shown = (await world.admin.at("2.87").get(f"/os-hypervisors/{UUIDS[1]}")).json["hypervisor"]
    assert (shown["vcpus"], shown["vcpus_used"], shown["running_vms"]) == (8, 1, 1)
    assert (shown["memory_mb_used"], shown["free_ram_mb"]) == (512, 16_384 - 512)
    assert shown["service"]["id"] == await uuid_of(world, "h2")
    assert isinstance(
        (await world.admin.at("2.27").get("/os-hypervisors/2")).json["hypervisor"]["cpu_info"], str
    )
    assert shown["cpu_info"] == {"arch": "x86_64"}
    world.fleet.silent.add(HOSTS[1])
    assert (await world.admin.get("/os-hypervisors/2")).json["hypervisor"]["state"] == "down"


async def test_hypervisors_with_servers_and_search(world: World) -> None:
    server_id = await world.active(world.alice, host=1)
    mine = [{"uuid": server_id, "name": "web-1"}]
    for minor, empty in ((53, False), (75, True)):
        found = (await world.admin.at(f"2.{minor}").get("/os-hypervisors?with_servers=true")).json[
            "hypervisors"
        ]
        assert found[1]["servers"] == mine
        assert ("servers" in found[0]) is empty
    found = (await world.admin.at("2.53").get("/os-hypervisors?hypervisor_hostname_pattern=h2")).json
    assert [each["hypervisor_hostname"] for each in found["hypervisors"]] == ["h2"]
    assert (await world.admin.at("2.53").get("/os-hypervisors?hypervisor_hostname_pattern=zz")).status == 404
    assert (
        await world.admin.at("2.53").get("/os-hypervisors?hypervisor_hostname_pattern=h&limit=1")
    ).status == 400
    assert (await world.admin.get("/os-hypervisors/h/search")).json["hypervisors"][2][
        "hypervisor_hostname"
    ] == "h3"
    assert (await world.admin.get("/os-hypervisors/h2/servers")).json["hypervisors"][0]["servers"] == mine
    assert (await world.admin.get("/os-hypervisors/zz/search")).status == 404
    assert (await world.admin.at("2.53").get("/os-hypervisors/h2/servers")).status == 404


async def test_hypervisor_pages_statistics_uptime_and_refusals(world: World) -> None:
    first = (await world.admin.at("2.53").get("/os-hypervisors?limit=2")).json
    assert [each["id"] for each in first["hypervisors"]] == UUIDS[:2]
    assert f"marker={UUIDS[1]}" in first["hypervisors_links"][0]["href"]
    second = (await world.admin.at("2.53").get(f"/os-hypervisors/detail?limit=2&marker={UUIDS[1]}")).json
    assert [each["id"] for each in second["hypervisors"]] == UUIDS[2:]
    assert "hypervisors_links" not in second
    assert (await world.admin.at("2.53").get("/os-hypervisors?marker=x")).status == 400
    sums = (await world.admin.get("/os-hypervisors/statistics")).json["hypervisor_statistics"]
    assert (sums["count"], sums["vcpus"], sums["free_disk_gb"]) == (3, 24, 300)
    assert set(sums) == (CAPACITY - {"cpu_info"}) | {"count"}
    assert (await world.admin.at("2.88").get("/os-hypervisors/statistics")).status == 404
    answer = await world.admin.get("/os-hypervisors/1/uptime")
    assert (answer.status, answer.fault[0]) == (501, "notImplemented")
    assert (await world.admin.at("2.88").get(f"/os-hypervisors/{UUIDS[0]}/uptime")).status == 404
    assert (await world.admin.get("/os-hypervisors/99")).status == 404
    assert (await world.admin.at("2.53").get("/os-hypervisors/1")).status == 400
    assert (await world.admin.at("2.53").get("/os-hypervisors?unknown=1")).status == 400
    for path in ("", "/detail", "/1", "/statistics", "/h/search"):
        assert (await world.alice.get(f"/os-hypervisors{path}")).status == 403


async def test_what_old_clients_probe_for(world: World) -> None:
    assert (await world.alice.get("/extensions")).json == {"extensions": []}
    assert (await world.alice.get("/extensions/os-consoles")).status == 404
    assert (await world.alice.get("/os-instance-actions")).status == 404

"""A flavor's `quota:` limits as clients meet them: what is refused, where, and which hosts are passed by."""

from __future__ import annotations

import pytest

from fabric.core.placement.resources import CPU_LIMITS
from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.providers import HostOffers
from proto.ids import FlavorId
from tests.api.compute.world import HOSTS, IMAGE, World

BAD = [
    ({"quota:cpu_quota": "999"}, "quota:cpu_quota=999 must be a whole number from 1000"),
    ({"quota:cpu_shares": "x"}, "quota:cpu_shares=x"),
    (
        {"quota:disk_total_iops_sec": "10", "quota:disk_read_iops_sec": "5"},
        "quota:disk_total_iops_sec cannot go with quota:disk_read_iops_sec",
    ),
    ({"quota:vif_inbound_peak": "10"}, "quota:vif_inbound_peak needs quota:vif_inbound_average"),
    ({"quota:cpu_limit": "10"}, "quota:cpu_limit is for VMware hosts"),
    ({"quota:memory_shares_level": "high"}, "is for VMware hosts"),
    ({"quota:cpu_qouta": "10000"}, "quota:cpu_qouta is not a limit that this cloud knows"),
]


async def flavor(world: World, specs: dict[str, str]) -> dict[str, str]:
    made = FlavorId("9")
    await world.do(FlavorCreate(flavor_id=made, name="m9", vcpus=1, memory_mb=512, root_gb=1))
    await world.do(FlavorUpdate(flavor_id=made, extra_specs_set=specs))
    return {"flavorRef": "9"}


@pytest.mark.parametrize(("specs", "words"), BAD)
async def test_what_no_guest_can_have_is_refused_where_it_is_written(
    world: World, specs: dict[str, str], words: str
) -> None:
    await flavor(world, {})
    path = "/flavors/9/os-extra_specs"
    answer = await world.admin.at("2.86").post(path, {"extra_specs": specs})
    assert answer.status == 400
    assert words in answer.json["badRequest"]["message"]
    assert (await world.admin.get(path)).json == {"extra_specs": {}}


@pytest.mark.parametrize(("specs", "words"), BAD)
async def test_a_flavor_that_has_it_nonetheless_makes_no_server(
    world: World, specs: dict[str, str], words: str
) -> None:
    """Below 2.86 anything can be written, as in Nova."""
    await flavor(world, {})
    answer = await world.admin.at("2.85").post("/flavors/9/os-extra_specs", {"extra_specs": specs})
    assert answer.status == 200
    body = {"name": "s", "imageRef": IMAGE, "networks": "none", "flavorRef": "9"}
    answer = await world.alice.at("2.37").post("/servers", {"server": body})
    assert answer.status == 400
    assert words in answer.json["badRequest"]["message"]


async def test_limits_that_came_one_by_one_are_judged_together(world: World) -> None:
    await flavor(world, {"quota:disk_total_iops_sec": "10"})
    admin, path = world.admin.at("2.86"), "/flavors/9/os-extra_specs"
    wrong = {"quota:disk_write_iops_sec": "5"}
    assert (await admin.put(f"{path}/quota:disk_write_iops_sec", wrong)).status == 400
    assert (await admin.post(path, {"extra_specs": {"rack": "7"}})).status == 200
    assert (await admin.delete(f"{path}/quota:disk_total_iops_sec")).status == 200
    assert (await admin.put(f"{path}/quota:disk_write_iops_sec", wrong)).json == wrong


async def test_all_that_is_known_can_be_written(world: World) -> None:
    await flavor(world, {})
    specs = {
        "quota:cpu_shares": "1024",
        "quota:cpu_period": "100000",
        "quota:cpu_quota": "-1",
        "quota:disk_read_bytes_sec": "1000000",
        "quota:disk_read_bytes_sec_max": "2000000",
        "quota:disk_read_bytes_sec_max_length": "10",
        "quota:disk_total_iops_sec": "100",
        "quota:vif_inbound_average": "1000",
        "quota:vif_inbound_peak": "2000",
        "quota:vif_outbound_average": "1000",
        "quota:vif_outbound_burst": "64",
    }
    answer = await world.admin.at("2.86").post("/flavors/9/os-extra_specs", {"extra_specs": specs})
    assert (answer.status, answer.json) == (200, {"extra_specs": specs})


async def test_hosts_that_cannot_limit_processors_are_passed_by_and_named(world: World) -> None:
    wants = await flavor(world, {"quota:cpu_quota": "20000", "quota:disk_write_iops_sec": "5"})
    server_id = await world.boot(world.alice, "limited", **wants)
    await world.fail_placement(server_id)
    why = (await world.admin.get(f"/servers/{server_id}/why", root="/fabric/v1")).json
    said = [refusal for verdict in why["verdicts"] for refusal in verdict["refusals"]]
    assert {refusal["remark"] for refusal in said} == {f"has not {CPU_LIMITS}"}
    assert why["summary"].endswith("It would fit if the flavor had no quota:cpu_quota.")
    await world.do(HostOffers(host_id=HOSTS[1], traits=(CPU_LIMITS,)))
    assert (await world.admin.get(f"/servers/{server_id}/why", root="/fabric/v1")).json["chosen"] == "h2"

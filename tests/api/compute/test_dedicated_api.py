"""Dedicated processors as clients meet them: what is refused, what is shown, and why there is no host."""

from __future__ import annotations

from typing import Any

import pytest

from proto.commands.catalog import FlavorCreate, FlavorUpdate
from proto.commands.providers import ClassInventory, HostOffers
from proto.ids import FlavorId
from tests.api.compute.world import HOSTS, IMAGE, World
from tests.api.placement.client import HOST_IDS, Placement

DEDICATED = {"hw:cpu_policy": "dedicated"}


async def flavor(world: World, specs: dict[str, str], *, flavor_id: str = "9") -> dict[str, str]:
    """Of two vCPUs, as a field of a server."""
    made = FlavorId(flavor_id)
    await world.do(FlavorCreate(flavor_id=made, name=f"m{flavor_id}", vcpus=2, memory_mb=512, root_gb=1))
    await world.do(FlavorUpdate(flavor_id=made, extra_specs_set=specs))
    return {"flavorRef": flavor_id}


async def offer(world: World, total: int) -> None:
    await world.do(HostOffers(host_id=HOSTS[0], inventories={"PCPU": ClassInventory(total=total)}))


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"hw:cpu_policy": "mixed"}, "needs 'hw:cpu_dedicated_mask'"),
        ({"hw:cpu_policy": "often"}, "hw:cpu_policy=often is invalid; it may be dedicated, shared, mixed."),
        ({"hw:cpu_thread_policy": "isolate"}, "in a non dedicated cpu pinning policy"),
        (DEDICATED | {"resources:PCPU": "2"}, "not both"),
        ({"resources:PCPU": "1"}, "it must be 2"),
    ],
)
async def test_what_makes_no_sense_is_a_bad_request(world: World, specs: dict[str, str], words: str) -> None:
    body = {
        "name": "s", "imageRef": IMAGE, "networks": "none", **(await flavor(world, specs)),
    }  # fmt: skip
    answer = await world.alice.at("2.37").post("/servers", {"server": body})
    assert answer.status == 400, answer.data
    assert words in answer.json["badRequest"]["message"]


async def test_both_kinds_are_shown_and_counted(world: World) -> None:
    await offer(world, 4)
    await world.active(world.alice, **await flavor(world, DEDICATED))
    await world.active(world.alice, "plain")
    path = f"/resource_providers/{HOST_IDS[0]}"
    placement = Placement(world.admin)
    inventories = (await placement.get(f"{path}/inventories"))["inventories"]
    assert {name: inventories[name]["total"] for name in ("VCPU", "PCPU")} == {"VCPU": 8, "PCPU": 4}
    assert inventories["PCPU"]["allocation_ratio"] == 1.0
    usages = (await placement.get(f"{path}/usages"))["usages"]
    assert usages == {"DISK_GB": 2, "MEMORY_MB": 1_024, "PCPU": 2, "VCPU": 1}
    old = world.admin.at("2.87")
    shown = (await old.get(f"/os-hypervisors/{HOST_IDS[0]}")).json["hypervisor"]
    assert (shown["vcpus"], shown["vcpus_used"]) == (12, 3)
    totals = (await old.get("/os-hypervisors/statistics")).json["hypervisor_statistics"]
    assert (totals["vcpus"], totals["vcpus_used"]) == (28, 3)
    rooms: Any = (await world.admin.get("/capacity?flavor=m9", root="/fabric/v1")).json
    assert [room["fits"] for room in rooms["rooms"]] == [1, 0, 0]
    assert rooms["rooms"][0]["resources"]["PCPU"]["free"] == 2


async def test_a_mixed_server_counts_as_both(world: World) -> None:
    await offer(world, 4)
    mixed = {"hw:cpu_policy": "mixed", "hw:cpu_dedicated_mask": "1"}
    await world.active(world.alice, **await flavor(world, mixed))
    usages = (await Placement(world.admin).get(f"/resource_providers/{HOST_IDS[0]}/usages"))["usages"]
    assert usages == {"DISK_GB": 1, "MEMORY_MB": 512, "PCPU": 1, "VCPU": 1}


async def test_without_any_the_explanation_names_them(world: World) -> None:
    wants = await flavor(world, DEDICATED)
    server_id = await world.boot(world.alice, "pinned", **wants)
    await world.fail_placement(server_id)
    why = (await world.admin.get(f"/servers/{server_id}/why", root="/fabric/v1")).json
    assert why["request"]["resources"] == {"DISK_GB": 1, "MEMORY_MB": 512, "PCPU": 2}
    assert all(each["refusals"] for each in why["verdicts"])
    assert why["summary"] == (
        "No valid host was found. Asked for 2 dedicated processors (PCPU), 512 MB of memory, 1 GB of disk: "
        "3 hosts: not enough dedicated processors (needs 2 PCPUs, at most 0 free). "
        "It would fit if the flavor had no hw:cpu_policy."
    )
    await offer(world, 2)
    assert (await world.admin.get(f"/servers/{server_id}/why", root="/fabric/v1")).json["chosen"] == "h1"

"""GET /allocation_candidates: what a query may say in each version, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from proto.commands.nodes import HostUpdate
from proto.commands.providers import ClassInventory, HostOffers
from tests.api.compute.world import HOSTS, World
from tests.api.placement.client import CARD, CARD_2, HOST_IDS, Placement

H1, H2, H3 = HOST_IDS
AGGREGATE = "0a0a0a0a-0a0a-4a0a-8a0a-0a0a0a0a0a0a"


@pytest.fixture
async def placement(world: World) -> Placement:
    """h1 has an SSD and two cards below it; a server is on h1; h3 is disabled."""
    offer = {"CUSTOM_NIC": ClassInventory(total=2)}
    await world.do(HostOffers(host_id=HOSTS[0], inventories=offer, traits=("CUSTOM_SSD",)))
    await world.do(HostOffers(host_id=HOSTS[1], traits=("CUSTOM_FAST",)))
    await world.do(HostUpdate(host_id=HOSTS[2], enabled=False))
    await world.active(world.alice)
    found = Placement(world.admin)
    await found.card(parent=H1)
    await found.card(CARD_2, parent=H1)
    traits = {"traits": ["HW_GPU_API_VULKAN"], "resource_provider_generation": 1}
    await found.put(f"/resource_providers/{CARD_2}/traits", traits)
    aggregates = {"aggregates": [AGGREGATE], "resource_provider_generation": 2}
    await found.put(f"/resource_providers/{CARD_2}/aggregates", aggregates)
    return found


async def ask(placement: Placement, query: str, version: str = "1.39") -> list[dict[str, list[str]]]:
    """By group, the providers of each candidate."""
    answer = await placement.at(version).get(f"/allocation_candidates?{query}")
    return [each["mappings"] for each in answer["allocation_requests"]]


async def test_a_host_is_a_candidate_while_it_has_room(placement: Placement) -> None:
    assert await ask(placement, "resources=VCPU:1,MEMORY_MB:512") == [{"": [H1]}, {"": [H2]}, {"": [H3]}]
    assert await ask(placement, "resources=MEMORY_MB:16384") == [{"": [H1]}, {"": [H2]}, {"": [H3]}]
    assert await ask(placement, "resources=DISK_GB:100") == [
        {"": [H2]},
        {"": [H3]},
    ]  # a server has 1 GB of h1
    assert await ask(placement, "resources=VCPU:9") == []  # no host has more than 8 for one consumer


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("resources=VCPU:1&required=CUSTOM_SSD", [{"": [H1]}]),
        ("resources=VCPU:1&required=!CUSTOM_SSD,!COMPUTE_STATUS_DISABLED", [{"": [H2]}]),
        ("resources=VCPU:1&required=in:CUSTOM_SSD,CUSTOM_FAST", [{"": [H1]}, {"": [H2]}]),
        ("resources=VCPU:1&required=in:CUSTOM_SSD,CUSTOM_FAST&required=!CUSTOM_FAST", [{"": [H1]}]),
        ("resources=VCPU:1&root_required=CUSTOM_FAST", [{"": [H2]}]),
        (f"resources=VCPU:1&in_tree={CARD}", [{"": [H1]}]),
        ("resources=VCPU:1&limit=1", [{"": [H1]}]),
        ("resources=VGPU:4", [{"": [CARD]}, {"": [CARD_2]}]),
        ("resources=VGPU:1&required=HW_GPU_API_VULKAN", [{"": [CARD_2]}]),
        (f"resources=VGPU:1&member_of={AGGREGATE}", [{"": [CARD_2]}]),
        (f"resources=VGPU:1&member_of=!in:{AGGREGATE}", [{"": [CARD]}]),
        ("resources=VCPU:1&resources1=VGPU:3&resources2=VGPU:2&group_policy=none",
         [{"": [H1], "1": [CARD], "2": [CARD_2]}, {"": [H1], "1": [CARD_2], "2": [CARD]}]),
        ("resources1=VGPU:1&resources2=VGPU:1&group_policy=isolate&required1=HW_GPU_API_VULKAN",
         [{"1": [CARD_2], "2": [CARD]}]),
        ("resources_A=VGPU:1&resources_B=CUSTOM_NIC:1&group_policy=none&same_subtree=_A,_B&required_A="
         "!HW_GPU_API_VULKAN", [{"_A": [CARD], "_B": [H1]}]),
        ("resources_A=VGPU:1&resources_B=VGPU:1&group_policy=isolate&same_subtree=_A,_B", []),
        ("resources_A=VGPU:4&required_R=CUSTOM_SSD&same_subtree=_A,_R",
         [{"_A": [CARD], "_R": [H1]}, {"_A": [CARD_2], "_R": [H1]}]),
    ],
)  # fmt: skip
async def test_a_query_finds(placement: Placement, query: str, found: list[dict[str, list[str]]]) -> None:
    assert await ask(placement, query) == found


async def test_answers_by_version(placement: Placement) -> None:
    async def at(version: str, query: str = "resources=VCPU:1&limit=1") -> dict[str, Any]:
        answer: dict[str, Any] = await placement.at(version).get(f"/allocation_candidates?{query}")
        return answer

    allocations = {H1: {"resources": {"VCPU": 1}}}
    old = await at("1.10", "resources=VCPU:8")
    first = {"allocations": [{"resource_provider": {"uuid": H1}, "resources": {"VCPU": 8}}]}
    assert (old["allocation_requests"][0], len(old["allocation_requests"])) == (first, 3)
    assert old["provider_summaries"][H1] == {"resources": {"VCPU": {"capacity": 128, "used": 1}}}
    assert (await at("1.16"))["allocation_requests"] == [{"allocations": allocations}]
    summary = (await at("1.17"))["provider_summaries"][H1]
    assert (set(summary["resources"]), summary["traits"]) == ({"VCPU"}, ["COMPUTE_NODE", "CUSTOM_SSD"])
    assert set((await at("1.27"))["provider_summaries"][H1]["resources"]) == {
        "CUSTOM_NIC", "DISK_GB", "MEMORY_MB", "VCPU",
    }  # fmt: skip
    assert (await at("1.28", "resources=VGPU:1"))["allocation_requests"] == []  # trees came with 1.29
    nested = await at("1.29", "resources=VGPU:4")
    assert set(nested["provider_summaries"]) == {H1, CARD, CARD_2}
    assert nested["provider_summaries"][CARD]["root_provider_uuid"] == H1
    assert (await at("1.33"))["allocation_requests"] == [{"allocations": allocations}]
    newest = await at("1.34")
    assert newest["allocation_requests"] == [{"allocations": allocations, "mappings": {"": [H1]}}]


@pytest.mark.parametrize(
    ("version", "query", "words"),
    [
        ("1.39", "", "At least one request group"),
        ("1.10", "limit=1", "resources"),
        ("1.15", "resources=VCPU:1&limit=1", "limit"),
        ("1.16", "resources=VCPU:1&required=CUSTOM_SSD", "required"),
        ("1.21", "resources=VCPU:1&required=!CUSTOM_SSD", "Invalid 'required' parameter"),
        ("1.24", "resources=VCPU:1&resources1=VCPU:1", "resources1"),
        ("1.32", "resources_A=VCPU:1", "resources_A"),
        ("1.38", "resources=VCPU:1&required=in:CUSTOM_SSD,CUSTOM_FAST", "Invalid 'required' parameter"),
        ("1.39", "resources=VCPU:1&limit=0", "limit"),
        ("1.39", "resources=VCPU:0", "expected at least 1"),
        ("1.39", "resources=VCPU", "Badly formed resources parameter"),
        ("1.39", "resources=GOLD:1", "Invalid resource class in resources parameter: GOLD"),
        ("1.39", "resources=VCPU:1&required=CUSTOM_NONE", "No such trait(s): CUSTOM_NONE"),
        ("1.39", "resources=VCPU:1&required=CUSTOM_SSD,!CUSTOM_SSD", "Conflicting required and forbidden"),
        ("1.39", "resources=VCPU:1&member_of=a,b", "must be prefixed with the 'in:'"),
        ("1.31", f"resources=VCPU:1&member_of=!{AGGREGATE}", "not supported before 1.32"),
        ("1.39", "resources1=VCPU:1&resources2=VCPU:1", '"group_policy" parameter is required'),
        ("1.39", "resources=VCPU:1&required1=CUSTOM_SSD", "resources1 is missing"),
        ("1.39", "resources_A=VCPU:1&same_subtree=_A,_B", "_B not found in any request group"),
        ("1.39", "resources=VCPU:1&colour=red", "colour"),
    ],
)
async def test_bad_queries_are_named(placement: Placement, version: str, query: str, words: str) -> None:
    _, detail = await placement.at(version).refused("GET", f"/allocation_candidates?{query}", status=400)
    assert words in detail


async def test_before_1_10_there_are_none(placement: Placement) -> None:
    await placement.at("1.9").get("/allocation_candidates?resources=VCPU:1", 404)

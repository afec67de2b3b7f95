"""What a flavor asks for in Placement's terms, as Nova's extra specs reference has it."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.placement.inventory import Inventory
from fabric.core.placement.resources import CPU_LIMITS, HYPERTHREADING, ResourceGroup, resource_request
from fabric.core.servers.model import FlavorSnapshot
from proto.ids import FlavorId


def flavor(**specs: str) -> FlavorSnapshot:
    named = {key.replace("__", ":"): value for key, value in specs.items()}
    return FlavorSnapshot(
        flavor_id=FlavorId("f"),
        name="m1",
        vcpus=2,
        memory_mb=4_096,
        root_gb=20,
        ephemeral_gb=1,
        swap_mb=1_025,
        extra_specs=named,
    )


UNCOUNTED = {"MEMORY_MB": 4_096, "DISK_GB": 23}  # of processors
OWN = {"VCPU": 2, **UNCOUNTED}


@pytest.mark.parametrize(
    ("specs", "resources"),
    [
        ({}, OWN),
        ({"resources__VCPU": "0"}, {"MEMORY_MB": 4_096, "DISK_GB": 23}),
        ({"resources__MEMORY_MB": "8192"}, OWN | {"MEMORY_MB": 8_192}),
        ({"resources__CUSTOM_GPU": "1"}, OWN | {"CUSTOM_GPU": 1}),
        ({"resources__CUSTOM_GPU": "many"}, OWN),
        ({"resources__CUSTOM_GPU": "-1"}, OWN),
        ({"resources__CUSTOM_GPU": "99999999999"}, OWN),
        ({"hw__cpu_policy": "dedicated"}, {"PCPU": 2, "MEMORY_MB": 4_096, "DISK_GB": 23}),
        ({"hw__cpu_policy": "dedicated", "hw__emulator_threads_policy": "isolate"}, UNCOUNTED | {"PCPU": 3}),
        ({"hw__cpu_policy": "shared", "hw__emulator_threads_policy": "isolate"}, OWN),
        ({"hw__cpu_policy": "shared"}, OWN),
        ({"hw__cpu_policy": "dedicated", "resources__VCPU": "0"}, UNCOUNTED | {"PCPU": 2}),
        ({"resources__PCPU": "2"}, UNCOUNTED | {"PCPU": 2}),  # Nova: no VCPU where either is named
        ({"resources__PCPU": "0"}, UNCOUNTED),
        ({"resources1__VCPU": "2"}, UNCOUNTED),
        ({"resources1__MEMORY_MB": "1"}, {"VCPU": 2, "DISK_GB": 23}),
    ],
)
def test_amounts(specs: dict[str, str], resources: dict[str, int]) -> None:
    assert resource_request(flavor(**specs)).unsuffixed.resources == resources


@pytest.mark.parametrize(
    ("policy", "required", "forbidden"),
    [
        (None, set(), set()),
        ("require", {HYPERTHREADING}, set()),
        ("isolate", set(), {HYPERTHREADING}),
        ("prefer", set(), set()),
        ("odd", set(), set()),
    ],
)
def test_a_thread_policy_is_a_trait(policy: str | None, required: set[str], forbidden: set[str]) -> None:
    said = {} if policy is None else {"hw_cpu_thread_policy": policy}
    by_flavor = flavor(
        hw__cpu_policy="dedicated", **{key.replace("hw_", "hw__", 1): v for key, v in said.items()}
    )
    for asked in (resource_request(by_flavor), resource_request(flavor(hw__cpu_policy="dedicated"), said)):
        assert (asked.required(), asked.forbidden()) == (required, forbidden)


@pytest.mark.parametrize(
    ("specs", "required"),
    [
        ({"quota__cpu_quota": "20000"}, {CPU_LIMITS}),
        ({"quota__cpu_shares": "2048"}, {CPU_LIMITS}),
        ({"quota__cpu_quota": "-1", "quota__cpu_period": "0"}, set()),
        ({"quota__disk_write_iops_sec": "1"}, set()),
    ],
)
def test_limits_of_processors_need_a_host_that_keeps_them(specs: dict[str, str], required: set[str]) -> None:
    asked = resource_request(flavor(**specs))
    assert asked.required() == required
    assert asked.total() == resource_request(flavor()).total()


def test_groups_and_traits() -> None:
    asked = resource_request(
        flavor(
            trait__HW_CPU_X86_AVX="required",
            trait__CUSTOM_SLOW="forbidden",
            trait__CUSTOM_ODD="perhaps",
            resources1__VGPU="1",
            trait1__CUSTOM_BIG="required",
            trait1__CUSTOM_HOT="forbidden",
            resources_NET__NET_BW_EGR_KILOBIT_PER_SEC="1000",
            group_policy="isolate",
        ),
        {"trait:CUSTOM_FROM_IMAGE": "required"},
    )
    assert asked.unsuffixed.required == {"HW_CPU_X86_AVX", "CUSTOM_FROM_IMAGE"}
    assert asked.forbidden() == {"CUSTOM_SLOW", "CUSTOM_HOT"}
    assert asked.numbered == {
        "1": ResourceGroup(
            resources={"VGPU": 1}, required=frozenset({"CUSTOM_BIG"}), forbidden=frozenset({"CUSTOM_HOT"})
        ),
        "_NET": ResourceGroup(resources={"NET_BW_EGR_KILOBIT_PER_SEC": 1_000}),
    }
    assert asked.group_policy == "isolate"
    assert asked.total() == OWN | {"VGPU": 1, "NET_BW_EGR_KILOBIT_PER_SEC": 1_000}
    assert asked.required() == {"HW_CPU_X86_AVX", "CUSTOM_FROM_IMAGE", "CUSTOM_BIG"}


@pytest.mark.parametrize(
    ("changes", "amount", "used", "fits"),
    [
        ({}, 10, 0, True),
        ({}, 1, 10, False),
        ({"reserved": 1}, 10, 0, False),
        ({"ratio_milli": 1_500}, 5, 10, True),
        ({"ratio_milli": 1_500}, 6, 10, False),
        ({"ratio_milli": 1_050}, 1, 10, False),  # rounded down
        ({"max_unit": 4}, 5, 0, False),
        ({"min_unit": 2}, 1, 0, False),
        ({"step_size": 3}, 4, 0, False),
        ({"step_size": 3}, 6, 0, True),
        ({"reserved": 20}, 1, 0, False),
    ],
)
def test_what_an_inventory_takes(changes: dict[str, Any], amount: int, used: int, fits: bool) -> None:
    assert Inventory(total=10, **changes).takes(amount, used) is fits

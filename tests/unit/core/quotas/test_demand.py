"""What a server takes, and what is said when that is too much."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabric.core.placement.claim import claim_of
from fabric.core.quotas.demand import classes_of, demand_of, exceeded, fitting
from fabric.core.quotas.model import ALL_LIMITS, COMPUTE_RESOURCES, NETWORK_RESOURCES
from fabric.core.quotas.unified import BUILT_IN, limit_id, name_of, resource_of
from fabric.core.servers.model import FlavorSnapshot
from proto.ids import FlavorId

SIZES = st.integers(0, 10_000)
FLAVOR: dict[str, Any] = {"vcpus": 2, "memory_mb": 512, "root_gb": 5, "ephemeral_gb": 1, "swap_mb": 1}


@given(root=SIZES, ephemeral=SIZES, swap=SIZES)
def test_disk_is_what_the_scheduler_claims(root: int, ephemeral: int, swap: int) -> None:
    flavor = FlavorSnapshot(
        flavor_id=FlavorId("f"),
        name="f",
        vcpus=1,
        memory_mb=1,
        root_gb=root,
        ephemeral_gb=ephemeral,
        swap_mb=swap,
    )
    found = classes_of(
        vcpus=1, memory_mb=1, root_gb=root, ephemeral_gb=ephemeral, swap_mb=swap, extra_specs={}
    )
    assert found.get("class:DISK_GB", 0) == claim_of(flavor).disk_gb


def test_classes_count_where_they_are_limited_and_taken() -> None:
    specs = {"resources:CUSTOM_GPU": "2", "resources1:CUSTOM_GPU": "1", "resources:VGPU": "many", "hw:x": "1"}
    names = ("class:DISK_GB", "class:CUSTOM_GPU", "class:VGPU", "class:CUSTOM_NONE", "instances", "port")
    servers = {"cores": 2, "instances": 1, "ram": 512}
    found = demand_of(dict.fromkeys(names, 1), **FLAVOR, extra_specs=specs)
    assert found == {**servers, "class:DISK_GB": 7, "class:CUSTOM_GPU": 3}
    assert demand_of(dict.fromkeys(names, -1), **FLAVOR, extra_specs=specs) == servers
    assert demand_of({}, **FLAVOR, extra_specs=specs) == servers
    none = demand_of(dict.fromkeys(names, 1), **FLAVOR, extra_specs={"resources:DISK_GB": "0"})
    assert none == servers


def test_words_are_novas() -> None:
    limits, used = {"instances": 3, "cores": -1, "ram": 1_000}, {"instances": 2, "cores": 99, "ram": 1_000}
    assert exceeded(limits, used, {"instances": 1, "cores": 8}) is None
    assert exceeded(limits, used, {"ram": 512, "instances": 2, "cores": 8}) == (
        "Quota exceeded for instances, ram: Requested 2, 512, but already used 2, 1000 of 3, 1000 "
        "instances, ram"
    )


@given(limit=st.integers(-1, 30), used=st.integers(0, 30), each=st.integers(0, 9), at_most=st.integers(1, 9))
def test_as_many_fit_as_are_not_refused(limit: int, used: int, each: int, at_most: int) -> None:
    limits, taken = {"cores": limit}, {"cores": used}
    fits = fitting(limits, taken, {"cores": each}, at_most=at_most)
    # nothing asked for is never refused, whatever is used already
    refused = [n for n in range(1, at_most + 1) if each and exceeded(limits, taken, {"cores": each * n})]
    assert fits == (refused[0] - 1 if refused else at_most)


@pytest.mark.parametrize(
    ("service", "name", "resource"),
    [
        ("compute", "servers", "instances"),
        ("compute", "class:VCPU", "cores"),
        ("compute", "class:DISK_GB", "class:DISK_GB"),
        ("compute", "class:CUSTOM_GPU", "class:CUSTOM_GPU"),
        ("compute", "instances", "compute:instances"),
        ("image", "image_size_total", "image:image_size_total"),
        ("image", "class:VCPU", "image:class:VCPU"),
        ("network", "port", "port"),
    ],
)
def test_each_name_has_a_key_and_each_key_a_name(service: str, name: str, resource: str) -> None:
    assert resource_of(service, name) == resource
    assert name_of(resource) == (service, name)


def test_what_quotas_count_is_registered_from_the_start() -> None:
    assert set(BUILT_IN) == set(ALL_LIMITS) - {"fixed_ips", "floating_ips"}
    assert {*COMPUTE_RESOURCES, *NETWORK_RESOURCES} == set(ALL_LIMITS)
    assert len({limit_id(owner, name) for owner in ("", "a", "b") for name in BUILT_IN}) == 3 * len(BUILT_IN)

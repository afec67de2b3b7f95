"""What flavors ask of cells and devices, and what nobody can be asked for: in Nova's words if it has some."""

from __future__ import annotations

import pytest

from fabric.core.topology.model import Affinity
from fabric.core.topology.wish import GuestCell, TopologyError, TopologyWish, topology_fault, wish_of
from tests.unit.core.topology.rows import sized, wish


def test_plain_flavors_ask_for_nothing() -> None:
    assert wish_of(sized()) is None
    assert wish_of(sized(hw__cpu_policy="shared", hw__cpu_sockets="2")) is None
    assert wish_of(sized(resources__VCPU="2")) is None


def test_nodes_are_even_unless_they_are_named() -> None:
    even = wish(4, 1_024, hw__numa_nodes="2")
    assert even == TopologyWish(
        cells=(
            GuestCell(vcpus=(0, 1), memory_mb=512, shared=2, dedicated=0),
            GuestCell(vcpus=(2, 3), memory_mb=512, shared=2, dedicated=0),
        ),
        is_explicit=True,
    )
    named = wish(
        3, 1_024, hw__numa_nodes="2", hw__numa_cpus_at_0="0-2,^1", hw__numa_cpus_at_1="1",
        hw__numa_mem_at_0="1000", hw__numa_mem_at_1="24",
    )  # fmt: skip
    assert [(each.vcpus, each.memory_mb) for each in named.cells] == [((0, 2), 1_000), ((1,), 24)]


def test_dedicated_processors_are_of_one_node_and_the_emulators_is_of_the_first() -> None:
    (only,) = wish(2, hw__cpu_policy="dedicated").cells
    assert (only.dedicated, only.shared, only.page) == (2, 0, "")
    assert not wish(2, hw__cpu_policy="dedicated").is_explicit
    assert wish(2, resources__PCPU="2").cells == (only,)
    two = wish(2, hw__cpu_policy="dedicated", hw__emulator_threads_policy="isolate", hw__numa_nodes="2")
    assert [each.dedicated for each in two.cells] == [2, 1]


def test_of_mixed_ones_some_are_dedicated() -> None:
    found = wish(
        4, hw__cpu_policy="mixed", hw__cpu_dedicated_mask="^0", hw__emulator_threads_policy="isolate",
        hw__numa_nodes="2",
    )  # fmt: skip
    assert [(each.shared, each.dedicated) for each in found.cells] == [(1, 2), (0, 2)]
    (only,) = wish(4, hw__cpu_policy="mixed", hw__cpu_dedicated_mask="0-1").cells
    assert (only.shared, only.dedicated) == (2, 2)


@pytest.mark.parametrize(
    ("text", "page"),
    [("small", "small"), ("large", "large"), ("any", "any"), ("2048", "2048"), ("2MB", "2048"),
     ("1G", "1048576"), ("1GiB", "1048576"), ("4kB", "4")],
)  # fmt: skip
def test_pages_are_named_or_counted(text: str, page: str) -> None:
    found = wish(hw__mem_page_size=text)
    assert [each.page for each in found.cells] == [page]
    assert found.is_explicit


def test_devices_are_added_up_by_alias() -> None:
    found = wish(pci_passthrough__alias="nic:1, gpu:2,nic:1", hw__pci_numa_affinity_policy="socket")
    assert found == TopologyWish(devices={"gpu": 2, "nic": 2}, affinity=Affinity.SOCKET)
    assert list(found.devices) == ["gpu", "nic"]


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ({"hw__numa_nodes": "0"}, "The property 'numa_nodes' cannot be '0'. It must be a number"),
        ({"hw__numa_nodes": "two"}, "cannot be 'two'"),
        ({"hw__numa_nodes": "9" * 5_000}, "cannot be '9999"),
        ({"hw__numa_nodes": "17"}, "at most 16"),
        ({"hw__numa_nodes": "3"}, "cannot be evenly distributed across instance NUMA nodes"),
        ({"hw__numa_nodes": "8"}, "cannot be evenly distributed"),
        (
            {"hw__numa_nodes": "2", "hw__numa_cpus_at_0": "0"},
            "CPU and memory allocation must be provided for all NUMA nodes",
        ),
        ({"hw__numa_nodes": "1", "hw__numa_mem_at_1": "5"}, "hw:numa_mem.1 is about a node that"),
        ({"cpus": ("0-4", "1"), "mem": ("1", "2")}, "CPU number 4 is larger than max 3"),
        ({"cpus": ("0-2", "2-3"), "mem": ("1", "2")}, "CPU number 2 is assigned to two nodes"),
        ({"cpus": ("0", "1"), "mem": ("1", "2")}, "CPU number 2-3 is not assigned to any node"),
        ({"cpus": ("0-1", "2-3"), "mem": ("1", "2")}, "3 MB of memory assigned, but expected 4096 MB"),
        ({"cpus": ("0-1", "2-3"), "mem": ("0", "4096")}, "hw:numa_mem.0=0 must be a number of MB"),
        ({"cpus": ("0-1", "2-3"), "mem": ("-5", "4101")}, "hw:numa_mem.0=-5 must be"),
        ({"cpus": ("^0", "0-3"), "mem": ("1", "4095")}, "hw:numa_cpus.0=^0 names no vCPU"),
        ({"cpus": ("a", "0-3"), "mem": ("1", "4095")}, "hw:numa_cpus.0: 'a' is no processor's number"),
        ({"cpus": ("0," * 3_000, "1"), "mem": ("1", "2")}, "hw:numa_cpus.0 is longer than 4096 characters"),
        ({"hw__mem_page_size": "huge"}, "Invalid memory page size 'huge'"),
        ({"hw__mem_page_size": "0"}, "Invalid memory page size '0'"),
        ({"hw__mem_page_size": "2Mb"}, "Invalid memory page size '2Mb'"),
        ({"pci_passthrough__alias": "gpu"}, "write name:count, such as gpu:1"),
        ({"pci_passthrough__alias": "gpu:0"}, "write name:count"),
        ({"pci_passthrough__alias": "gpu:1,"}, "write name:count"),
        ({"pci_passthrough__alias": "gpu:9999"}, "at most 64 devices"),
        (
            {"pci_passthrough__alias": "gpu:1", "hw__pci_numa_affinity_policy": "near"},
            "hw:pci_numa_affinity_policy=near is invalid; it may be legacy, preferred, required, socket.",
        ),
        ({"hw__numa_nodes": "2", "resources__PCPU": "1"}, "1 dedicated processors are not enough for 4"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(specs: dict[str, object], words: str) -> None:
    given = {key: value for key, value in specs.items() if isinstance(value, str)}
    for kind in ("cpus", "mem"):
        values = specs.get(kind)
        if isinstance(values, tuple):
            given |= {f"hw__numa_{kind}_at_{node}": value for node, value in enumerate(values)}
            given["hw__numa_nodes"] = "2"
    with pytest.raises(TopologyError) as caught:
        wish_of(sized(4, 4_096, **given))
    assert words in str(caught.value)
    assert topology_fault(sized(4, 4_096, **given), {}) == str(caught.value)


def test_images_may_say_what_the_flavor_says() -> None:
    one = sized(hw__numa_nodes="2")
    assert topology_fault(one, {"hw_numa_nodes": "2", "hw_disk_bus": "virtio"}) is None
    assert topology_fault(one, {"hw_numa_nodes": "1"}) == (
        "Image property 'hw_numa_nodes' is not permitted to override NUMA configuration set against "
        "the flavor"
    )
    plain = sized()
    assert topology_fault(plain, {"hw_mem_page_size": "large"}) == (
        "Image property hw_mem_page_size=large needs a flavor with hw:mem_page_size of that value here."
    )
    assert "hw:numa_cpus.0" in (topology_fault(plain, {"hw_numa_cpus.0": "1"}) or "")

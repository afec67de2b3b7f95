"""Which cells and devices a guest is given, and when there is no room for it."""

from __future__ import annotations

import pytest

from fabric.core.topology.give import give, shortage
from fabric.core.topology.model import CellGrant, DeviceGrant, Grant, HostCell
from fabric.core.topology.wish import TopologyWish
from tests.unit.core.topology.rows import addresses_of, cells_of, device, room, two_cells, wish

HALF = wish(2, 2_048, hw__numa_nodes="1")
BOTH = wish(4, 4_096, hw__numa_nodes="2")


def given(host_cells: tuple[HostCell, ...], *wishes: TopologyWish) -> list[Grant]:
    """One after the other, as long as there is room."""
    grants: list[Grant] = []
    for each in wishes:
        grant = give(room(host_cells, given=grants), each)
        if grant is None:
            break
        grants.append(grant)
    return grants


def test_each_node_has_a_cell_of_its_own_and_the_emptier_comes_first() -> None:
    cells = two_cells()
    assert cells_of(give(room(cells), BOTH)) == [0, 1]
    assert [cells_of(each) for each in given(cells, HALF, HALF, HALF, HALF, HALF)] == [[0], [1], [0], [1]]
    assert give(room(cells[:1]), BOTH) is None
    assert give(room(), BOTH) is None
    assert give(room(cells, given=given(cells, HALF, HALF)), BOTH) is not None
    assert give(room(cells, given=given(cells, HALF, HALF, HALF)), BOTH) is None  # one of the cells is full


def test_no_order_of_nodes_or_cells_hides_a_way() -> None:
    """The larger node fits one cell alone, and the smaller both."""
    cells = HostCell(cell_id=0, memory_mb=8_192, shared=8), HostCell(cell_id=1, memory_mb=1_024, shared=8)
    uneven = wish(
        4, 8_192, hw__numa_nodes="2", hw__numa_cpus_at_0="0-1", hw__numa_cpus_at_1="2-3",
        hw__numa_mem_at_0="1024", hw__numa_mem_at_1="7168",
    )  # fmt: skip
    assert cells_of(give(room(cells), uneven)) == [1, 0]


def test_ratios_sell_more_than_there_is_but_no_node_is_larger_than_its_cell() -> None:
    cells = two_cells()
    sold = {"cpu_ratio_milli": 2_000, "memory_ratio_milli": 1_500}
    full = given(cells, HALF, HALF, HALF, HALF)
    assert cells_of(give(room(cells, given=full, **sold), HALF)) == [0]
    assert give(room(cells, **sold), wish(5, 1_024, hw__numa_nodes="1")) is None
    assert give(room(cells, **sold), wish(1, 4_097, hw__numa_nodes="1")) is None
    small = wish(2, 2_048, hw__mem_page_size="small")
    assert give(room(cells, given=full, **sold), small) is None  # those are to be there


def test_dedicated_processors_are_counted_once_and_those_of_nobody_knows_where_at_each_cell() -> None:
    cells = two_cells(dedicated=4)
    pinned = wish(4, 1_024, hw__cpu_policy="dedicated")
    assert [cells_of(each) for each in given(cells, pinned, pinned, pinned)] == [[0], [1]]
    assert cells_of(give(room(cells, cpu_ratio_milli=16_000), pinned)) == [0]
    assert give(room(cells, dedicated_used=1), pinned) is None  # by a guest from before cells were told
    assert cells_of(give(room(cells, dedicated_used=4, given=given(cells, pinned)), pinned)) == [1]
    assert give(room(two_cells(dedicated=3)), pinned) is None
    spread = wish(4, 1_024, hw__cpu_policy="dedicated", hw__numa_nodes="2")
    assert cells_of(give(room(two_cells(dedicated=2)), spread)) == [0, 1]


def test_a_host_that_says_nothing_takes_what_only_wants_processors() -> None:
    assert give(room(), wish(4, hw__cpu_policy="dedicated")) == Grant()
    assert give(room(), wish(4, hw__cpu_policy="dedicated", hw__numa_nodes="1")) is None


@pytest.mark.parametrize(
    ("page", "page_kb"), [("large", 1_048_576), ("any", 1_048_576), ("2048", 2_048), ("small", 4), ("4", 4)]
)
def test_pages_of_the_size_that_is_wanted(page: str, page_kb: int) -> None:
    cells = two_cells(pages={2_048: 512, 1_048_576: 1})
    grant = give(room(cells), wish(2, 1_024, hw__mem_page_size=page))
    assert grant is not None
    assert [each.page_kb for each in grant.cells] == [page_kb]


def test_huge_pages_are_counted_by_themselves() -> None:
    cells = two_cells(pages={2_048: 512, 1_048_576: 1})
    large = wish(1, 1_024, hw__mem_page_size="large")
    grants = given(cells, *[large] * 5)
    assert [(each.cell_id, each.page_kb) for grant in grants for each in grant.cells] == [
        (0, 1_048_576), (1, 1_048_576), (0, 2_048), (1, 2_048),
    ]  # fmt: skip
    assert give(room(cells, given=grants), wish(1, 4_096, hw__numa_nodes="1")) is not None
    assert give(room(cells), wish(1, 1_000, hw__mem_page_size="1GB")) is None  # no whole number of them
    assert give(room(cells), wish(1, 1_024, hw__mem_page_size="512MB")) is None
    fewer = two_cells(pages={2_048: 0, 1_048_576: 0})
    assert give(room(fewer, given=grants), large) is None


def test_cells_without_devices_go_first_unless_some_are_wanted() -> None:
    cells, gpu = two_cells(), device(cell_id=0)
    assert cells_of(give(room(cells, [gpu]), HALF)) == [1]
    with_one = wish(2, 2_048, hw__numa_nodes="1", pci_passthrough__alias="gpu:1")
    assert cells_of(give(room(cells, [gpu]), with_one)) == [0]


@pytest.mark.parametrize(
    ("affinity", "cell_id", "fits"),
    [
        ("required", 0, True), ("required", 1, False), ("required", None, False),
        ("legacy", 0, True), ("legacy", 1, False), ("legacy", None, True),
        ("socket", 0, True), ("socket", 1, False), ("socket", 2, True),
        ("preferred", 1, True), ("preferred", None, True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_by_flavor", [False, True])
def test_how_near_a_device_has_to_be(
    affinity: str, cell_id: int | None, fits: bool, is_by_flavor: bool
) -> None:
    """Only cell 0 has room; cell 2 is of its socket."""
    cells = (
        HostCell(cell_id=0, memory_mb=4_096, shared=4),
        HostCell(cell_id=1, memory_mb=0, shared=0, socket=1),
        HostCell(cell_id=2, memory_mb=0, shared=0),
    )
    by_alias = "preferred" if is_by_flavor else affinity
    found = {"hw__pci_numa_affinity_policy": affinity} if is_by_flavor else {}
    wanted = wish(2, 2_048, hw__numa_nodes="1", pci_passthrough__alias="gpu:1", **found)
    host = room(cells, [device(cell_id=cell_id, affinity=by_alias)])
    assert (give(host, wanted) is not None) == fits
    anywhere = wish(2, 2_048, pci_passthrough__alias="gpu:1", **found)
    assert give(host, anywhere) is not None  # a guest without nodes is as near as any


def test_cells_are_tried_until_devices_are_near_enough() -> None:
    """By rank alone the guest would have the two cells with two cards each."""
    cells = tuple(HostCell(cell_id=number, memory_mb=4_096, shared=4) for number in range(3))
    devices = [
        device("0000:01:00.0", "a", cell_id=0),
        device("0000:01:00.1", "a", cell_id=0),
        device("0000:02:00.0", "a", cell_id=1),
        device("0000:02:00.1", "a", cell_id=1),
        device("0000:03:00.0", "b", cell_id=2),
    ]
    wanted = wish(4, 4_096, hw__numa_nodes="2", pci_passthrough__alias="a:1,b:1")
    grant = give(room(cells, devices), wanted)
    assert cells_of(grant) == [0, 2]
    assert addresses_of(grant) == ["0000:01:00.0", "0000:03:00.0"]
    three = wish(4, 4_096, hw__numa_nodes="2", pci_passthrough__alias="a:3,b:1")
    assert give(room(cells, devices), three) is None
    assert shortage(room(cells, devices), three).endswith("are not where its NUMA nodes have room")


def test_devices_with_two_names_are_given_so_that_everybody_has_one() -> None:
    devices = [device("0000:01:00.0", "any", "gpu"), device("0000:02:00.0", "any")]
    assert addresses_of(give(room((), devices), wish(pci_passthrough__alias="any:1,gpu:1"))) == [
        "0000:02:00.0",
        "0000:01:00.0",
    ]
    host = room((), devices)
    assert give(host, wish(pci_passthrough__alias="any:2,gpu:1")) is None
    assert give(host, wish(pci_passthrough__alias="other:1")) is None
    assert shortage(host, wish(pci_passthrough__alias="gpu:2")) == "2 PCI devices gpu wanted, 1 free"


def test_a_card_is_not_given_beside_parts_of_it() -> None:
    card = device("0000:81:00.0", "card")
    parts = [device(f"0000:81:10.{number}", "part", parent=card.address) for number in range(2)]
    part, whole = wish(pci_passthrough__alias="part:1"), wish(pci_passthrough__alias="card:1")
    has_part = [Grant(devices=(DeviceGrant(alias="part", address=parts[0].address),))]
    has_card = [Grant(devices=(DeviceGrant(alias="card", address=card.address),))]
    assert addresses_of(give(room((), [card, *parts], has_part), part)) == [parts[1].address]
    assert give(room((), [card, *parts], has_part), whole) is None
    assert give(room((), [card, *parts], has_card), part) is None
    assert give(room((), [card, *parts]), wish(pci_passthrough__alias="card:1,part:1")) is None


def test_words_name_what_is_free_where() -> None:
    cells = two_cells(dedicated=1, pages={2_048: 3})
    taken = [Grant(cells=(CellGrant(cell_id=0, vcpus=(0,), memory_mb=4_096, shared=1),))]
    host = room(cells, given=taken)
    assert shortage(host, wish(8, 8_192, hw__numa_nodes="2")) == (
        "2 NUMA nodes of 4 CPUs and 4096 MB wanted, free are 3 CPUs, 1 dedicated, 0 MB, 3 pages of 2048 KB "
        "at cell 0; 4 CPUs, 1 dedicated, 4096 MB, 3 pages of 2048 KB at cell 1"
    )
    assert shortage(host, wish(2, 64, hw__cpu_policy="dedicated")).startswith(
        "1 NUMA node of 2 dedicated CPUs and 64 MB wanted"
    )
    assert shortage(room(), wish(hw__numa_nodes="2")) == "NUMA nodes wanted, and it says nothing of its own"

"""Hosts as roots of a forest, and what stands below them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.placement.inventory import Inventory
from fabric.core.providers.model import HostOffer, ProviderRows, host_id_of, provider_id_of
from fabric.core.providers.names import SHARES
from fabric.core.providers.tree import Forest, Provider
from proto.ids import NodeId
from tests.fixtures.provider_rows import host, outside

HOST = host("a")
HOST_ID = "aaaaaaaa-aaaa-aaaa-aaaa-aaaaaaaaaaaa"
OFFER = HostOffer(host_id=HOST.host_id, inventories={"VGPU": Inventory(total=2)}, traits=("CUSTOM_A",))
ROWS = ProviderRows(hosts=(HOST,), offers={HOST.host_id: OFFER}, aggregates={HOST.host_id: ("g",)})


def only(rows: ProviderRows) -> Provider:
    (provider,) = Forest(rows)
    return provider


def test_ids_go_both_ways() -> None:
    node_id = NodeId("0123456789abcdef" * 2)
    assert provider_id_of(node_id) == "01234567-89ab-cdef-0123-456789abcdef"
    assert host_id_of(provider_id_of(node_id)) == node_id


def test_a_host_is_its_row_and_its_offer() -> None:
    found = only(ROWS)
    assert found.provider_id == found.root_id == HOST_ID
    assert list(found.inventories) == ["DISK_GB", "MEMORY_MB", "VCPU", "VGPU"]
    assert found.inventories["MEMORY_MB"].capacity == 4_000
    assert found.inventories["VCPU"] == Inventory(total=4, max_unit=4, ratio_milli=2_000)
    assert (found.traits, found.aggregates) == ({"COMPUTE_NODE", "CUSTOM_A"}, {"g"})


@pytest.mark.parametrize(
    "changed",
    [
        replace(ROWS, hosts=(replace(HOST, vcpus=5),)),
        replace(ROWS, hosts=(replace(HOST, cpu_ratio_milli=1_000),)),
        replace(ROWS, hosts=(replace(HOST, enabled=False),)),
        replace(ROWS, hosts=(replace(HOST, name="other"),)),
        replace(ROWS, offers={}),
        replace(ROWS, offers={HOST.host_id: replace(OFFER, traits=("CUSTOM_B",))}),
        replace(ROWS, aggregates={HOST.host_id: ("h",)}),
    ],
)
def test_another_generation_for_whatever_changes(changed: ProviderRows) -> None:
    assert only(changed).generation != only(ROWS).generation


def test_the_same_generation_for_what_does_not() -> None:
    moved = replace(HOST, updated_ms=9, address="198.51.100.7")
    same = replace(ROWS, hosts=(moved,), used={HOST_ID: {"VCPU": 1}})
    assert only(same).generation == only(ROWS).generation


def test_an_offer_cannot_speak_for_the_row() -> None:
    loud = replace(OFFER, inventories={"VCPU": Inventory(total=99)})
    assert only(replace(ROWS, offers={HOST.host_id: loud})).inventories["VCPU"].total == 4


def test_what_there_is_none_of_is_no_inventory() -> None:
    assert "DISK_GB" not in only(ProviderRows(hosts=(replace(HOST, disk_gb=0),))).inventories


def test_trees_and_what_shares_with_them() -> None:
    pool = outside("pool", traits=(SHARES,), aggregates=("s",))
    card = outside("card", parent=HOST_ID, aggregates=("s",))
    chip, lost = outside("chip", parent="card"), outside("lost", parent="gone")
    forest = Forest(replace(ROWS, outside=(chip, card, pool, lost)))
    assert [each.provider_id for each in forest.tree_of("chip")] == [HOST_ID, "chip", "card"]
    assert forest.ancestors("chip") == ["chip", "card", HOST_ID]
    assert [each.provider_id for each in forest.roots()] == [HOST_ID, "pool", "lost"]
    shared = {key: [each.provider_id for each in found] for key, found in forest.sharing().items()}
    assert shared == {HOST_ID: ["pool"]}
    orphan = forest.get("lost")
    assert orphan is not None
    assert (orphan.parent_id, orphan.root_id) == (None, "lost")
    assert forest.tree_of("none") == ()

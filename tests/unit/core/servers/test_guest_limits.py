"""`quota:` extra specs: what they mean, and what no guest can have."""

from __future__ import annotations

import pytest

from fabric.core.servers.guest_limits import (
    CpuLimits,
    DiskLimit,
    GuestLimits,
    LimitsError,
    VifLimit,
    cpu_limit_names,
    guest_limits,
    limits_fault,
)


def quota(**words: object) -> dict[str, str]:
    return {f"quota:{name}": str(value) for name, value in words.items()}


def test_no_words_are_no_limits() -> None:
    assert guest_limits({"hw:cpu_policy": "shared", "trait:CUSTOM_A": "required"}) == GuestLimits()
    assert limits_fault({"rack": "7"}) is None


def test_processors() -> None:
    specs = quota(cpu_shares=2048, cpu_period=20_000, cpu_quota=5_000)
    assert guest_limits(specs).cpu == CpuLimits(shares=2048, period_us=20_000, quota_us=5_000)
    assert set(cpu_limit_names(specs)) == set(specs)


@pytest.mark.parametrize("specs", [quota(cpu_quota=-1), quota(cpu_quota=0, cpu_period=0, cpu_shares=0)])
def test_words_that_stand_for_no_limit_of_processors(specs: dict[str, str]) -> None:
    assert limits_fault(specs) is None
    assert guest_limits(specs).cpu is None
    assert cpu_limit_names(specs) == ()


def test_no_quota_beside_a_weight() -> None:
    assert guest_limits(quota(cpu_shares=10, cpu_quota=-1)).cpu == CpuLimits(shares=10)
    assert cpu_limit_names(quota(cpu_shares=10, cpu_quota=-1)) == ("quota:cpu_shares",)


def test_disks() -> None:
    specs = quota(
        disk_write_iops_sec=100,
        disk_total_bytes_sec=10,
        disk_total_bytes_sec_max=20,
        disk_total_bytes_sec_max_length=3,
        disk_read_iops_sec=0,
    )
    assert guest_limits(specs).disks == (
        DiskLimit(way="total", unit="bytes", per_s=10, burst=20, burst_s=3),
        DiskLimit(way="write", unit="iops", per_s=100),
    )


def test_ports() -> None:
    inbound = quota(vif_inbound_average=100, vif_inbound_peak=200, vif_inbound_burst=300)
    limits = guest_limits(inbound | quota(vif_outbound_average=1))
    assert limits.inbound == VifLimit(average_kb_s=100, peak_kb_s=200, burst_kb=300)
    assert limits.outbound == VifLimit(average_kb_s=1)


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        (quota(cpu_shares=1), "quota:cpu_shares=1 must be a whole number from 2 to 262144"),
        (quota(cpu_period=999), "1000 to 1000000 or 0"),
        (quota(cpu_quota=999), "quota:cpu_quota=999"),
        (quota(cpu_quota=-2), "or -1"),
        (quota(cpu_quota="x"), "quota:cpu_quota=x"),
        (quota(cpu_quota="\u0661\u0662\u0663\u0664"), "whole number"),  # digits, but not ours
        (quota(cpu_quota="1_000"), "whole number"),
        (quota(disk_read_bytes_sec=10**15 + 1), "quota:disk_read_bytes_sec"),
        (quota(disk_read_bytes_sec=-1), "quota:disk_read_bytes_sec"),
        (quota(disk_total_iops_sec=1, disk_read_iops_sec=1), "cannot go with quota:disk_read_iops_sec"),
        (quota(disk_write_iops_sec_max=1), "needs quota:disk_write_iops_sec"),
        (quota(disk_write_iops_sec=2, disk_write_iops_sec_max=1), "is below"),
        (
            quota(disk_read_iops_sec=2, disk_read_iops_sec_max_length=1),
            "needs quota:disk_read_iops_sec_max",
        ),
        (
            quota(disk_read_iops_sec=1, disk_read_iops_sec_max=10**12, disk_read_iops_sec_max_length=1_001),
            "too long",
        ),
        (quota(vif_inbound_peak=1), "quota:vif_inbound_peak needs quota:vif_inbound_average"),
        (quota(vif_outbound_burst=1), "quota:vif_outbound_burst needs quota:vif_outbound_average"),
        (quota(vif_outbound_average=2, vif_outbound_peak=1), "is below"),
        (quota(vif_outbound_average=4_000_001), "quota:vif_outbound_average"),
    ],
)
def test_what_no_guest_can_have_is_named(specs: dict[str, str], words: str) -> None:
    assert words in (limits_fault(specs) or "")
    with pytest.raises(LimitsError):
        guest_limits(specs)


VMWARE = ("cpu_limit", "memory_shares_level", "disk_io_reservation", "vif_shares_share")


@pytest.mark.parametrize("name", VMWARE)
def test_what_only_vmware_keeps_is_refused_and_breaks_no_server_that_has_it(name: str) -> None:
    assert "VMware" in (limits_fault(quota(**{name: 1})) or "")
    assert guest_limits(quota(**{name: 1})) == GuestLimits()


@pytest.mark.parametrize("name", ["cpu_qouta", "disk_write_iops_sec_length", "vif_inbound_floor", ""])
def test_a_misspelt_name_is_refused(name: str) -> None:
    assert f"quota:{name}" in (limits_fault(quota(**{name: 1})) or "")


def test_total_of_one_unit_goes_with_ways_of_the_other() -> None:
    assert limits_fault(quota(disk_total_iops_sec=1, disk_read_bytes_sec=1)) is None

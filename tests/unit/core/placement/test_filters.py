"""Each filter: one host in, one host out, and the words for it."""

from __future__ import annotations

from typing import Any

import pytest

from fabric.core.membership.model import MemberState
from fabric.core.placement.choose import choose, choose_batch, first_refusal, rendezvous
from fabric.core.placement.claim import Claim, claim_of, limits_of
from fabric.core.placement.explain import NoHost
from fabric.core.placement.filters import Refusal
from fabric.core.placement.host_table import HostTable, HostView
from fabric.core.placement.weighers import SCALE, weigh
from fabric.core.placement.weighers.cpu import cpu_weigher
from fabric.core.placement.weighers.ram import ram_weigher
from proto.ids import NodeId, ServerId
from tests.fixtures.compute_rows import flavor, host, server, usage


def view(
    *, state: MemberState | None = MemberState.ALIVE, used: Claim | None = None, **changes: Any
) -> HostView:
    return HostView(host=host(**changes), state=state, used=used or Claim())


REFUSED = [
    ("ComputeFilter", {}, view(enabled=False, disabled_reason="new disks"), "is disabled: new disks"),
    ("ComputeFilter", {}, view(enabled=False), "is disabled"),
    ("ComputeFilter", {}, view(forced_down=True), "is forced down"),
    ("ComputeFilter", {}, view(state=MemberState.HOST_DOWN), "is not alive: host_down"),
    ("ComputeFilter", {}, view(state=MemberState.LEFT), "is not alive: left"),
    ("ComputeFilter", {}, view(state=MemberState.STALLED), "is not alive: stalled"),
    ("ComputeFilter", {}, view(state=MemberState.LEAVING), "is not alive: leaving"),
    ("ComputeFilter", {}, view(state=None), "is not alive: not in the membership table"),
    ("AvailabilityZoneFilter", {"zone_wanted": "az2"}, view(), "is in zone nova, not az2"),
    ("RequestedHost", {"host_wanted": "h9"}, view(), "is not h9"),
]


@pytest.mark.parametrize(("name", "wish", "refusing", "remark"), REFUSED)
def test_refused_with_a_remark(name: str, wish: dict[str, Any], refusing: HostView, remark: str) -> None:
    refusal = first_refusal(server(**wish), refusing)
    assert refusal is not None
    assert (refusal.filter_name, refusal.remark) == (name, remark)
    assert first_refusal(server(), view()) is None


COUNTED = [
    ("RamFilter", flavor(memory_mb=4096), view(used=Claim(memory_mb=7000)), 4096, 1192),
    ("RamFilter", flavor(memory_mb=4096), view(reserved_memory_mb=5000), 4096, 3192),
    ("CoreFilter", flavor(vcpus=4), view(used=Claim(vcpus=5)), 4, 3),
    ("DiskFilter", flavor(root_gb=50, ephemeral_gb=20, swap_mb=1025), view(used=Claim(disk_gb=40)), 72, 60),
    # A ratio lets servers share, but none may be bigger than the machine.
    ("RamFilter", flavor(memory_mb=9000), view(memory_ratio_milli=2000), 9000, 8192),
    ("CoreFilter", flavor(vcpus=9), view(cpu_ratio_milli=16_000), 9, 8),
]


@pytest.mark.parametrize(("name", "size", "refusing", "needed", "free"), COUNTED)
def test_refused_by_count(name: str, size: Any, refusing: HostView, needed: int, free: int) -> None:
    refusal = first_refusal(server(flavor=size), refusing)
    assert isinstance(refusal, Refusal)
    assert (refusal.filter_name, refusal.needed, refusal.free) == (name, needed, free)


FITS = [
    (flavor(memory_mb=1192), view(used=Claim(memory_mb=7000))),
    (flavor(memory_mb=8192), view(used=Claim(memory_mb=4096), memory_ratio_milli=1500)),
    (flavor(vcpus=8), view(used=Claim(vcpus=8), cpu_ratio_milli=2000)),
    (flavor(root_gb=60), view(used=Claim(disk_gb=40))),
    (flavor(root_gb=0), view(used=Claim(disk_gb=100))),
]


@pytest.mark.parametrize(("size", "fitting"), FITS)
def test_fits_to_the_last_unit(size: Any, fitting: HostView) -> None:
    assert first_refusal(server(flavor=size), fitting) is None


def test_a_suspect_host_still_counts_as_up() -> None:
    assert first_refusal(server(), view(state=MemberState.SUSPECT)) is None


def test_zone_and_host_asked_for_let_the_right_one_in() -> None:
    assert first_refusal(server(zone_wanted="nova", host_wanted="h1"), view()) is None


def test_claims_round_swap_up_and_limits_follow_placement() -> None:
    assert claim_of(flavor(root_gb=5, swap_mb=1)).disk_gb == 6
    assert claim_of(flavor(root_gb=5, swap_mb=2048)).disk_gb == 7
    limits = limits_of(
        host(memory_mb=1001, reserved_memory_mb=1, memory_ratio_milli=1500, cpu_ratio_milli=500)
    )
    assert (limits.memory_mb, limits.vcpus) == (1500, 4)
    assert limits_of(host(memory_mb=100, reserved_memory_mb=200)).memory_mb == 0


def test_weighers_prefer_what_is_freer() -> None:
    full, empty = view(used=Claim(vcpus=6, memory_mb=8000)), view()
    assert ram_weigher(empty) > ram_weigher(full)
    assert cpu_weigher(empty) > cpu_weigher(full)
    assert weigh([full, empty]) == [0, 2 * SCALE]
    assert weigh([empty, empty]) == [0, 0]
    assert weigh([]) == []


def test_megabytes_do_not_drown_vcpus() -> None:
    much_memory = view(name="a", used=Claim(vcpus=8))
    much_of_both = view(name="b", used=Claim(vcpus=1, memory_mb=100))
    assert weigh([much_memory, much_of_both], (ram_weigher,)) == [SCALE, 0]
    half = view(name="c", used=Claim(vcpus=0, memory_mb=40))
    weights = weigh([much_memory, much_of_both, half])
    assert weights.index(max(weights)) == 2


def table(*names: str, **changes: Any) -> HostTable:
    rows = [host(name, **changes) for name in names]
    return HostTable.of([usage(row) for row in rows], {row.host_id: MemberState.ALIVE for row in rows})


def test_equal_hosts_are_told_apart_by_rendezvous_and_share_evenly() -> None:
    hosts = table("h1", "h2", "h3")
    counts: dict[str, int] = {}
    for number in range(300):
        row = server(f"s{number}")
        choice = choose(row, hosts)
        assert not isinstance(choice, NoHost)
        best = max(hosts.views(), key=lambda each: rendezvous(row.server_id, each.host.host_id))
        assert choice.host_id == best.host.host_id
        assert choose(row, hosts) == choice
        counts[choice.host_id] = counts.get(choice.host_id, 0) + 1
    assert min(counts.values()) > 70


def test_a_batch_spreads_and_then_says_no() -> None:
    hosts = table("h1", "h2", "h3", memory_mb=1024)
    results = choose_batch([server(f"s{number}") for number in range(7)], hosts)
    placed = [result.host_id for result in results if not isinstance(result, NoHost)]
    assert len(placed) == 6
    assert sorted(placed[:3]) == sorted({each.host.host_id for each in hosts.views()})
    assert isinstance(results[6], NoHost)


def test_explanation_for_users_counts_and_for_admins_names() -> None:
    rows = [
        host("h1", memory_mb=1200),
        host("h2", memory_mb=900),
        host("h3", enabled=False),
        host("h4"),
    ]
    states = {row.host_id: MemberState.ALIVE for row in rows[:3]} | {rows[3].host_id: MemberState.HOST_DOWN}
    verdict = choose(server(flavor=flavor(memory_mb=4096)), HostTable.of(map(usage, rows), states))
    assert isinstance(verdict, NoHost)
    assert verdict.message == (
        "No valid host was found. Asked for 1 vCPUs, 4096 MB of memory, 1 GB of disk: "
        "2 hosts: not enough memory (needs 4096 MB of memory, at most 1200 free); "
        "1 host: disabled; 1 host: down."
    )
    assert verdict.details.splitlines() == [
        "h1: needs 4096 MB of memory, 1200 MB free (RamFilter)",
        "h2: needs 4096 MB of memory, 900 MB free (RamFilter)",
        "h3: is disabled (ComputeFilter)",
        "h4: is not alive: host_down (ComputeFilter)",
    ]
    assert all(name not in verdict.message for name in ("h1", "h2", "h3", "h4"))


def test_no_host_at_all_is_said_so() -> None:
    verdict = choose(server(), HostTable([]))
    assert isinstance(verdict, NoHost)
    assert verdict.message == "No valid host was found. No host is registered."


def test_details_are_bounded() -> None:
    names = [f"h{number}" for number in range(130)]
    verdict = choose(server(zone_wanted="mars"), table(*names))
    assert isinstance(verdict, NoHost)
    lines = verdict.details.splitlines()
    assert len(lines) == 101
    assert lines[-1] == "and 30 more hosts"


def test_rendezvous_is_stable_over_versions() -> None:
    """A value written down: replays of old decisions must choose alike."""
    assert rendezvous(ServerId("a"), NodeId("b")) == 1003126606879428512

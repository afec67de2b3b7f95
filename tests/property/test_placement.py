"""Placement never picks a host that does not fit, and a batch never over-commits."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fabric.core.membership.model import MemberState
from fabric.core.placement.choose import Choice, NoHost, choose_batch, first_refusal
from fabric.core.placement.claim import Claim, limits_of
from fabric.core.placement.host_table import HostTable, HostView
from fabric.core.servers.model import Server
from tests.fixtures.compute_rows import flavor, host, server

ratios = st.sampled_from([500, 1_000, 1_500, 16_000])


@st.composite
def host_views(draw: st.DrawFn) -> list[HostView]:
    count = draw(st.integers(0, 5))
    return [
        HostView(
            host=host(
                f"h{number}",
                zone=draw(st.sampled_from(["a", "b"])),
                enabled=draw(st.integers(0, 4)) > 0,
                vcpus=draw(st.integers(0, 8)),
                memory_mb=draw(st.integers(0, 4_096)),
                disk_gb=draw(st.integers(0, 50)),
                cpu_ratio_milli=draw(ratios),
                memory_ratio_milli=draw(ratios),
                disk_ratio_milli=draw(ratios),
                reserved_memory_mb=draw(st.integers(0, 512)),
            ),
            state=draw(st.sampled_from([MemberState.ALIVE, MemberState.ALIVE, MemberState.HOST_DOWN, None])),
            used=Claim(
                vcpus=draw(st.integers(0, 8)),
                memory_mb=draw(st.integers(0, 4_096)),
                disk_gb=draw(st.integers(0, 50)),
            ),
        )
        for number in range(count)
    ]


@st.composite
def batches(draw: st.DrawFn) -> list[Server]:
    return [
        server(
            f"s{number}",
            flavor=flavor(
                vcpus=draw(st.integers(1, 4)),
                memory_mb=draw(st.integers(1, 1_024)),
                root_gb=draw(st.integers(0, 20)),
            ),
            zone_wanted=draw(st.sampled_from([None, None, "a"])),
        )
        for number in range(draw(st.integers(1, 12)))
    ]


@settings(max_examples=200, deadline=None)
@given(host_views(), batches())
def test_a_batch_fits_and_refusals_are_true(views: list[HostView], servers: list[Server]) -> None:
    table = HostTable(views)
    check = HostTable(views)  # an independent book, claimed by hand
    for row, result in zip(servers, choose_batch(servers, table), strict=True):
        if isinstance(result, Choice):
            assert first_refusal(row, check.view(result.host_id)) is None
            check.claim(result.host_id, result.claim)
        else:
            assert isinstance(result, NoHost)
            assert all(first_refusal(row, view) is not None for view in check.views())
            assert [verdict.host_name for verdict in result.verdicts] == [v.host.name for v in views]
            assert result.message.startswith("No valid host was found.")
    for before, after in zip(views, table.views(), strict=True):
        limits = limits_of(after.host)
        if after.used != before.used:
            assert after.used.vcpus <= limits.vcpus
            assert after.used.memory_mb <= limits.memory_mb
            assert after.used.disk_gb <= limits.disk_gb


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 6), st.integers(1, 30))
def test_equal_servers_spread_over_equal_hosts(hosts: int, servers: int) -> None:
    views = [
        HostView(host=host(f"h{i}", memory_mb=1 << 20, vcpus=1_000), state=MemberState.ALIVE, used=Claim())
        for i in range(hosts)
    ]
    table = HostTable(views)
    choose_batch([server(f"s{i}", flavor=flavor(root_gb=0)) for i in range(servers)], table)
    counts = [view.used.vcpus for view in table.views()]
    assert sum(counts) == servers
    assert max(counts) - min(counts) <= 1

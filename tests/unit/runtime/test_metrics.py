"""What Prometheus is told: complete from the first scrape, bounded, under names that stay."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.membership.model import MemberState
from fabric.runtime.metrics import REASONS_MAX, MetricSources, scrape
from fabric.runtime.watchdog import LoopLag
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks, link_to, member_named
from tests.fixtures.prometheus_parser import Metric, parse_strictly


def scraped(
    view: MeshDouble, *, lag: LoopLag | None = None, dropped: Mapping[str, int] | None = None
) -> Mapping[str, Metric]:
    return parse_strictly(
        scrape(
            MetricSources(
                view=view,
                clock=TwoClocks(),
                name="me",
                version="1.2",
                started_wall_ms=1_700_000_000_000,
                lag=lambda: lag or LoopLag(),
                dropped=lambda: dropped or {},
                rpc_in_flight=lambda: {"asked": 2, "served": 0},
                traffic=lambda: {"sent_bytes": 7},
            )
        )
    )


def test_a_new_node_shows_every_family_with_zeros() -> None:
    """A rate can only be taken of a series that was there before."""
    read = scraped(MeshDouble())
    for state in MemberState:
        assert read["fabric_membership_members"].value(state=state) == (state is MemberState.ALIVE)
    for name in ("probes", "suspicions", "refutations", "payloads", "payloads_duplicate"):
        assert read[f"fabric_membership_{name}_total"].value() == 0
    for doom in ("stalled", "agent_down", "host_down"):
        assert read["fabric_membership_verdicts_total"].value(doom=doom) == 0
    assert read["fabric_membership_links"].value(**{"is": "all"}) == 0
    assert read["fabric_membership_isolated"].value() == 0
    (labels,) = read["fabric_build_info"].series
    assert {("version", "1.2"), ("node", "me")} <= labels


def test_what_the_core_counted() -> None:
    view = MeshDouble(
        counters={"probes": 5, "verdicts.host_down": 2, "refused.bad_signature": 3, "links_dropped.evict": 1,
                  "something_new": 4},
        rows=[member_named("me"), member_named("a", state=MemberState.SUSPECT)],
        awareness=3,
        is_isolated=True,
    )  # fmt: skip
    read = scraped(view)
    assert read["fabric_membership_probes_total"].value() == 5
    assert read["fabric_membership_something_new_total"].value() == 4
    assert read["fabric_membership_verdicts_total"].value(doom="host_down") == 2
    assert read["fabric_membership_refused_total"].value(reason="bad_signature") == 3
    assert read["fabric_membership_links_dropped_total"].value(reason="evict") == 1
    assert read["fabric_membership_awareness"].value() == 3
    assert read["fabric_membership_isolated"].value() == 1


def test_links_and_their_tables() -> None:
    view = MeshDouble(
        rows=[member_named("me"), member_named("a"), member_named("b", state=MemberState.HOST_DOWN)],
        linked=[link_to("a", rtt_us=350, lag_ms=20), link_to("b", is_up=False, is_eager=False, rtt_us=None)],
        agreeing=1,
    )
    read = scraped(view)
    shares = {"all": 2, "up": 1, "eager": 1, "ring": 0, "bad": 0, "same_table": 1}
    for word, count in shares.items():
        assert read["fabric_membership_links"].value(**{"is": word}) == count
    assert read["fabric_membership_link_rtt_seconds"].series == {frozenset({("peer", "a")}): 0.00035}
    assert read["fabric_membership_link_peer_lag_seconds"].value(peer="a") == 0.02
    assert read["fabric_membership_link_heard_age_seconds"].value(peer="b") == 0.2
    assert read["fabric_membership_members"].value(state="host_down") == 1


def test_the_loop_the_mesh_and_the_process() -> None:
    read = scraped(MeshDouble(), lag=LoopLag(40, 900, 2, 1), dropped={"wrong_fabric": 9})
    assert read["fabric_event_loop_lag_seconds"].value() == 0.04
    assert read["fabric_event_loop_lag_max_seconds"].value() == 0.9
    assert read["fabric_event_loop_stalls_total"].value() == 2
    assert read["fabric_event_loop_stuck_total"].value() == 1
    assert read["fabric_mesh_dropped_total"].value(reason="wrong_fabric") == 9
    assert read["fabric_mesh_sent_bytes_total"].value() == 7
    assert read["fabric_rpc_in_flight"].value(side="asked") == 2
    assert read["process_resident_memory_bytes"].value() > 1 << 20
    assert read["process_open_fds"].value() > 2
    assert read["process_start_time_seconds"].value() == 1_700_000_000


def test_a_flood_of_reasons_stays_bounded() -> None:
    read = scraped(MeshDouble(), dropped={f"reason{i}": i for i in range(1_000)})
    series = read["fabric_mesh_dropped_total"].series
    assert len(series) == REASONS_MAX
    assert sum(series.values()) == sum(range(1_000))

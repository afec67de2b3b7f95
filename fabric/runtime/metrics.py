"""What this agent tells Prometheus: its part in the mesh, and its own process. Read at each scrape.

Every series is bounded: by a fixed list of states and reasons, or by the active view (12 links). Nothing has
one series for each node of the fabric.
"""

from __future__ import annotations

import os
import platform
import re
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from fabric.core.membership.model import LinkView, MemberState
from fabric.runtime.clock import Clock
from fabric.runtime.mesh_view import MeshView, is_cut_off
from fabric.runtime.prometheus_text import Family, Kind, Sample, by_label, counter, gauge, render
from fabric.runtime.watchdog import LoopLag
from proto.membership import Doom

_UNFIT = re.compile(r"[^a-z0-9_]+")
REASONS_MAX = 64  # of one family: reasons are ours and few, but a bug must not make them many

_HELP = {
    "probes": "Members looked at directly (SWIM ping).",
    "probes_for_others": "Looks a third member asked for (SWIM ping-req).",
    "suspicions": "Accusations this node made.",
    "refutations": "Accusations against this node it answered with a higher incarnation.",
    "suspicions_refuted": "Accusations that their target answered.",
    "suspicions_cancelled": "Accusations ended because somebody reached the target.",
    "payloads": "Messages with news, received along the broadcast tree.",
    "payloads_duplicate": "Of these, with nothing new: what the tree costs too much.",
    "states_stale": "Records older than what is known, which changed nothing: late, or replayed.",
    "digests": "Tables compared with a peer's, because their roots differed.",
    "clones": "Signs of another process with this node's identity.",
}
_KINDS = {  # families with a label
    "verdicts": ("doom", "Verdicts accepted about members, by what they say."),
    "refused": ("reason", "Membership messages, or parts of one, not believed."),
    "links_dropped": ("reason", "Links this node or its neighbour gave up."),
}
_ALWAYS = {
    "verdicts": tuple(doom.value for doom in Doom)
}  # shown from the start, so that a rate can be taken


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSources:
    """Of this node. Callables are asked at each scrape."""

    view: MeshView
    clock: Clock
    name: str
    version: str
    started_wall_ms: int
    lag: Callable[[], LoopLag]
    dropped: Callable[[], Mapping[str, int]]
    rpc_in_flight: Callable[[], Mapping[str, int]]
    traffic: Callable[[], Mapping[str, int]] = field(default=dict)  # sent_bytes, received_frames, ...


def scrape(sources: MetricSources) -> str:
    return render(_families(sources))


def _families(sources: MetricSources) -> Iterator[Family]:
    yield from _build(sources)
    yield from _membership(sources.view)
    yield from _links(sources.view.links(), sources.view.roots_agreeing(), sources.clock.monotonic_ms())
    yield from _mesh(sources)
    yield from _process(sources.started_wall_ms)


def _build(sources: MetricSources) -> Iterator[Family]:
    labels = {"version": sources.version, "python": platform.python_version(), "node": sources.name}
    help = "Always 1; the labels say what runs here."
    yield Family("fabric_build_info", Kind.GAUGE, help, (Sample(1, labels),))


def _membership(view: MeshView) -> Iterator[Family]:
    found = Counter(member.state.value for member in view.members())
    states = {state.value: found[state.value] for state in MemberState}
    yield by_label(
        Kind.GAUGE,
        "fabric_membership_members",
        "Members by what this node believes of them.",
        "state",
        states,
    )
    yield gauge(
        "fabric_membership_isolated", "1 while this node hears none of the others.", int(is_cut_off(view))
    )
    yield gauge(
        "fabric_membership_awareness", "Lifeguard's local health multiplier: 0 well, 8 worst.", view.awareness
    )
    yield from core_counters(view.counters)


def core_counters(counts: Mapping[str, int]) -> Iterator[Family]:
    """`probes` becomes fabric_membership_probes_total. `verdicts.host_down` becomes a series of
    fabric_membership_verdicts_total, with a label for what follows the dot."""
    plain = {key: value for key, value in counts.items() if "." not in key}
    for key in sorted(plain.keys() | _HELP.keys()):
        help = _HELP.get(key, f"Counted by the membership core: {key.replace('_', ' ')}.")
        yield counter(f"fabric_membership_{_UNFIT.sub('_', key.lower())}_total", help, plain.get(key, 0))
    kinds: dict[str, dict[str, int]] = {key: dict.fromkeys(_ALWAYS.get(key, ()), 0) for key in _KINDS}
    for key, value in counts.items():
        family, dot, kind = key.partition(".")
        if dot:
            kinds.setdefault(family, {})[kind] = value
    for family in sorted(kinds):
        name = f"fabric_membership_{_UNFIT.sub('_', family.lower())}_total"
        label, help = _KINDS.get(family, ("kind", f"Counted by the membership core: {family}, by kind."))
        yield by_label(Kind.COUNTER, name, help, label, _bounded(kinds[family]))


def _links(links: tuple[LinkView, ...], agreeing: int, now_ms: int) -> Iterator[Family]:
    shares = {
        "all": sum(not link.is_bad for link in links),
        "up": sum(link.is_up for link in links),
        "eager": sum(link.is_eager for link in links),
        "ring": sum(link.is_ring for link in links),
        "bad": sum(link.is_bad for link in links),
        "same_table": agreeing,  # the neighbour's table has the same root as ours
    }
    yield by_label(
        Kind.GAUGE,
        "fabric_membership_links",
        "Neighbours in the active view, by what holds of them; bad ones were given up.",
        "is",
        shares,
    )
    yield _by_peer(
        "fabric_membership_link_rtt_seconds",
        "Round trip to a neighbour, smoothed.",
        {link.name: link.rtt_us / 1e6 for link in links if link.rtt_us is not None},
    )
    yield _by_peer(
        "fabric_membership_link_heard_age_seconds",
        "Time since the last word of a neighbour.",
        {link.name: max(0, now_ms - link.heard_ms) / 1e3 for link in links},
    )
    yield _by_peer(
        "fabric_membership_link_peer_lag_seconds",
        "How late a neighbour says its event loop is.",
        {link.name: link.lag_ms / 1e3 for link in links},
    )


def _by_peer(name: str, help: str, values: Mapping[str, float]) -> Family:
    return by_label(Kind.GAUGE, name, help, "peer", values)


def _mesh(sources: MetricSources) -> Iterator[Family]:
    yield from _event_loop(sources.lag())
    yield by_label(
        Kind.COUNTER,
        "fabric_mesh_dropped_total",
        "Frames and connections thrown away.",
        "reason",
        _bounded(sources.dropped()),
    )
    for key, value in sorted(sources.traffic().items()):
        name = f"fabric_mesh_{_UNFIT.sub('_', key.lower())}_total"
        yield counter(name, f"On the mesh: {key.replace('_', ' ')}.", value)
    yield by_label(
        Kind.GAUGE,
        "fabric_rpc_in_flight",
        "Requests under way: asked by this node, or served for others.",
        "side",
        sources.rpc_in_flight(),
    )


def _event_loop(lag: LoopLag) -> Iterator[Family]:
    yield gauge(
        "fabric_event_loop_lag_seconds", "How late this agent's event loop is now.", lag.last_ms / 1e3
    )
    yield gauge("fabric_event_loop_lag_max_seconds", "The latest it was since the start.", lag.max_ms / 1e3)
    yield counter("fabric_event_loop_stalls_total", "Times it was later than a quarter second.", lag.stalls)
    yield counter("fabric_event_loop_stuck_total", "Times it did not turn for two seconds.", lag.stuck)


def _process(started_wall_ms: int) -> Iterator[Family]:
    """Under the names every Prometheus client library uses for them."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    yield counter(
        "process_cpu_seconds_total", "User and system CPU time of the agent.", used.ru_utime + used.ru_stime
    )
    with open("/proc/self/statm", encoding="ascii") as file:
        pages = int(file.read().split()[1])
    yield gauge(
        "process_resident_memory_bytes", "Resident memory of the agent.", pages * resource.getpagesize()
    )
    yield gauge("process_open_fds", "Open file descriptors of the agent.", len(os.listdir("/proc/self/fd")))
    yield gauge("process_start_time_seconds", "Start of the agent, since the epoch.", started_wall_ms / 1e3)


def _bounded(counts: Mapping[str, int]) -> dict[str, int]:
    """The greatest, and the rest as one."""
    if len(counts) <= REASONS_MAX:
        return dict(counts)
    ranked = sorted(counts, key=lambda key: (-counts[key], key))
    kept = {key: counts[key] for key in ranked[: REASONS_MAX - 1]}
    return kept | {"other": sum(counts[key] for key in ranked[REASONS_MAX - 1 :])}

"""Settings of membership, checked when built. Where a number comes from stands beside it."""

from __future__ import annotations

from dataclasses import dataclass

from proto.errors import FabricError, Outcome

HOUR_MS = 3_600_000


class MembershipConfigError(FabricError):
    """A membership setting is wrong. The message names it."""

    code = "fabric.config.membership"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipConfig:
    # Detection: design/gossip.md 4.4.
    # the design says 1,000; a third more would miss the idle bar, see DECISIONS
    beat_interval_ms: int = 1_300
    beat_jitter_percent: int = 10  # so that beats of a rack do not fall into step
    silence_ms: int = 2_000  # of a neighbour, times (awareness + 1), before it is looked at
    look_timeout_ms: int = 500  # memberlist's LAN probe timeout; times (awareness + 1)
    indirect_probes: int = 3  # SWIM's k; memberlist's default
    suspicion_refused_ms: int = 1_000  # a refusal is hard evidence: time to restart, no more
    suspicion_silent_ms: int = 1_500
    suspicion_max_factor: int = 6  # Lifeguard's beta: how much longer while votes are missing
    votes_wanted: int = 3  # Lifeguard's K
    deputies: int = 5  # who looks when somebody is accused: two more than the votes wanted
    stalled_down_ms: int = 30_000  # a stuck agent is called down after so long, never before
    stranger_interval_ms: int = 5_000  # one member that is no neighbour is knocked at
    stranger_ping_every: int = 3  # ... and each so many of them is pinged, and roots compared
    storm_interval_ms: int = 100  # ... this often while many die at once: their neighbours may be dead, too
    recheck_interval_ms: int = 10_000  # a dead member's deputies look again: splits heal, diagnoses improve
    unheard_grace_ms: int = 3_000  # members known from disk only are looked at after so long
    flap_window_ms: int = 600_000  # each refuted suspicion within it doubles the next window,
    flap_factor_max: int = 8  # up to this much
    awareness_max: int = 8  # Lifeguard's S
    lag_forgiven_ms: int = 250  # own lateness above this is our fault, not the peers' silence
    doubt_suspects_min: int = 3  # more than so many silent at once, and more than
    doubt_suspects_percent: int = 25  # this share of the table, within
    doubt_window_ms: int = 5_000  # this time: then the fault may be ours

    # Active view: design/gossip.md 4.1.
    links_target: int = 8
    links_max: int = 12
    full_mesh_max: int = 9  # up to so many nodes everybody is everybody's neighbour
    link_retry_min_ms: int = 200
    link_retry_max_ms: int = 5_000
    link_shunned_ms: int = 60_000  # a peer that evicted us or whose link is bad is not asked again so long
    swap_interval_ms: int = 90_000  # one random link is exchanged, so that views stay random
    swap_jitter_ms: int = 30_000

    # Broadcast: design/gossip.md 4.2.
    batch_ms: int = 20  # when news is frequent it travels in batches
    batch_above_per_s: int = 10  # records: more are frequent
    # lazy links are told when the payload has gone round: before that each frame only delays it
    have_idle_ms: int = 100
    have_busy_ms: int = 250
    want_after_ms: int = 80  # the payload may be on its way: wait so long; Plumtree's timer
    load_batch_ms: int = 150  # loads are many and never urgent: a frame costs more than what it carries
    eager_min: int = 2  # never prune below: one lost link must not cut us off the tree
    eager_unshaped: int = 4  # nor below this before the tree has its shape
    shape_interval_ms: int = 10_000  # the lowest living id says its load, and by it the tree is pruned

    # Anti-entropy: design/gossip.md 4.3.
    mismatch_ms: int = 2_000  # roots unequal so long on a link: compare
    mismatch_flow_ms: int = 8_000  # ... and so long while loads go round, when two are never quite equal

    # Capacity: design/gossip.md 4.6.
    load_interval_ms: int = 1_000
    load_refresh_ms: int = 600_000
    load_change_percent: int = 2
    fabric_loads_per_s: int = 500  # the whole fabric's budget: a node's interval is at least nodes / this
    urgent_burst: int = 5  # urgent loads that may bypass the interval; one more each second

    # Memory of the gone: design/gossip.md 4.5.
    restart_grace_ms: int = 30_000
    down_kept_ms: int = 72 * HOUR_MS
    left_kept_ms: int = 24 * HOUR_MS
    persist_interval_ms: int = 5_000
    members_max: int = 16_384
    states_bytes_max: int = 256 * 1024  # of one message

    def __post_init__(self) -> None:
        def need(ok: bool, message: str) -> None:
            if not ok:
                raise MembershipConfigError(message)

        need(0 <= self.beat_jitter_percent < 100, "beat_jitter_percent must be 0 to 99")
        longest = self.beat_interval_ms * (100 + self.beat_jitter_percent) // 100
        need(
            0 < longest < self.silence_ms,
            "silence_ms must be above one jittered beat, else every beat is late",
        )
        need(self.look_timeout_ms > 0, "look_timeout_ms must be above 0")
        need(
            0 < self.suspicion_refused_ms <= self.suspicion_silent_ms,
            "need 0 < suspicion_refused_ms <= suspicion_silent_ms",
        )
        need(self.suspicion_max_factor >= 1, "suspicion_max_factor must be at least 1")
        need(1 <= self.votes_wanted <= self.deputies + 1, "votes_wanted must be 1 to deputies + 1")
        need(self.awareness_max >= 0, "awareness_max must not be negative")
        need(2 < self.links_target <= self.links_max, "need 2 < links_target <= links_max")
        need(1 < self.full_mesh_max <= self.links_max + 1, "full_mesh_max must be 2 to links_max + 1")
        need(
            0 < self.link_retry_min_ms <= self.link_retry_max_ms,
            "need 0 < link_retry_min_ms <= link_retry_max_ms",
        )
        need(
            0 <= self.swap_jitter_ms < self.swap_interval_ms, "swap_jitter_ms must be below swap_interval_ms"
        )
        need(self.stranger_ping_every >= 1, "stranger_ping_every must be at least 1")
        need(1 <= self.eager_min <= self.eager_unshaped, "need 1 <= eager_min <= eager_unshaped")
        need(self.fabric_loads_per_s >= 1, "fabric_loads_per_s must be at least 1")
        need(1 < self.members_max <= 65_536, "members_max must be 2 to 65536")
        need(self.states_bytes_max >= 32 * 1024, "states_bytes_max must be at least 32768")
        for name in (
            "stranger_interval_ms",
            "storm_interval_ms",
            "recheck_interval_ms",
            "batch_ms",
            "have_idle_ms",
            "have_busy_ms",
            "want_after_ms",
            "load_batch_ms",
            "shape_interval_ms",
            "mismatch_ms",
            "mismatch_flow_ms",
            "load_interval_ms",
            "load_refresh_ms",
            "restart_grace_ms",
            "down_kept_ms",
            "left_kept_ms",
            "persist_interval_ms",
        ):
            need(getattr(self, name) > 0, f"{name} must be above 0")

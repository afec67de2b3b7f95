"""Settings of membership, checked when built."""

from __future__ import annotations

from dataclasses import dataclass

from proto.errors import FabricError, Outcome


class MembershipConfigError(FabricError):
    """A membership setting is wrong. The message names it."""

    code = "fabric.config.membership"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipConfig:
    beat_interval_ms: int = 1_000  # design/gossip.md 4.4
    beat_jitter_percent: int = 10  # so that beats of a rack do not fall into step
    check_interval_ms: int = 250  # how often silence is judged
    suspect_silence_ms: int = 3_000  # three beats missed
    host_down_silence_ms: int = 6_000  # six beats missed; at 10 % loss that is one in a million
    refused_grace_ms: int = 1_000  # an agent that restarts within it is never called down
    agent_down_silence_ms: int = 1_250  # refused and silent so long; above one jittered beat
    stall_forgiven_ms: int = 500  # own delay above this is our fault, not the peers' silence
    digest_after_mismatches: int = 2  # beats that disagree before a digest goes out
    members_max: int = 1_024  # a full mesh is comfortable up to 1,000 links (design/gossip.md 3)
    states_bytes_max: int = 256 * 1024  # of one message

    def __post_init__(self) -> None:
        if not 0 < self.check_interval_ms <= self.beat_interval_ms:
            raise MembershipConfigError("check_interval_ms must be above 0 and at most beat_interval_ms")
        if not 0 <= self.beat_jitter_percent < 100:
            raise MembershipConfigError("beat_jitter_percent must be 0 to 99")
        if not self.beat_interval_ms < self.suspect_silence_ms < self.host_down_silence_ms:
            raise MembershipConfigError(
                "need beat_interval_ms < suspect_silence_ms < host_down_silence_ms, else every beat is late"
            )
        if self.refused_grace_ms <= 0 or self.stall_forgiven_ms <= self.check_interval_ms // 2:
            raise MembershipConfigError(
                "refused_grace_ms must be above 0 and stall_forgiven_ms above half of check_interval_ms"
            )
        beat_longest_ms = self.beat_interval_ms * (100 + self.beat_jitter_percent) // 100
        if not beat_longest_ms < self.agent_down_silence_ms <= self.host_down_silence_ms:
            raise MembershipConfigError(
                "agent_down_silence_ms must be above one jittered beat and at most host_down_silence_ms"
            )
        if self.digest_after_mismatches < 1 or self.states_bytes_max < 32 * 1024:
            raise MembershipConfigError(
                "digest_after_mismatches must be at least 1 and states_bytes_max at least 32768"
            )
        if not 1 < self.members_max <= 2_048:
            raise MembershipConfigError("members_max must be 2 to 2048 (one digest holds 2048 entries)")

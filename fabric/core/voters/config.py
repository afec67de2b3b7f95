"""Settings of the autopilot, checked when built. Where a number comes from stands beside it."""

from __future__ import annotations

from dataclasses import dataclass

from proto.errors import FabricError, Outcome

SIZES = (1, 3, 5)  # odd only: a second or fourth voter raises the majority and bears no further death
SERVING_MAX = 21  # five voters and sixteen standbys: the leader sends each of them every entry


class VotersConfigError(FabricError):
    """A setting of the voters is wrong. The message names it."""

    code = "fabric.config.voters"
    outcome = Outcome.NOT_DONE


@dataclass(frozen=True, slots=True, kw_only=True)
class VotersConfig:
    target: int = 0  # how many voters; 0: by itself, from the number of nodes that could vote
    standbys: int = 2  # learners beyond the voters: design/log.md, 4
    serving: int = 0  # how many hold the rows at least, and so serve the API; above the two, more stand by
    dead_after_ms: int = 60_000  # a host that restarts is back by then: design/log.md, 4
    caught_up_entries: int = 250  # design/log.md, 4, item 8
    stable_ms: int = 10_000  # design/log.md, 4, item 8
    quiet_after_ms: int = 3_000  # thirty heartbeats
    invite_ms: int = 10_000  # an invitation is a round trip and a new directory; a guess
    invite_again_ms: int = 30_000  # others are asked in between; a guess
    move_interval_ms: int = (
        600_000  # of moves for the spread alone: they cost a change and gain nothing today
    )

    def __post_init__(self) -> None:
        if self.target != 0 and self.target not in SIZES:
            raise VotersConfigError(f"target must be 0, 1, 3 or 5, not {self.target}")
        if not 0 <= self.standbys <= 16:
            raise VotersConfigError(f"standbys must be 0 to 16, not {self.standbys}")
        if not 0 <= self.serving <= SERVING_MAX:
            raise VotersConfigError(f"serving must be 0 to {SERVING_MAX}, not {self.serving}")
        if not 0 < self.quiet_after_ms < self.dead_after_ms:
            raise VotersConfigError("quiet_after_ms must be above 0 and below dead_after_ms")
        if not 0 < self.invite_ms <= self.invite_again_ms:
            raise VotersConfigError("invite_ms must be above 0 and at most invite_again_ms")
        if self.caught_up_entries < 1 or self.stable_ms < 0 or self.move_interval_ms < 0:
            raise VotersConfigError("caught_up_entries must be above 0, the times not below")

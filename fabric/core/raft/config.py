"""Numbers of one group of voters."""

from __future__ import annotations

from dataclasses import dataclass

from proto.raft import ENTRIES_MAX, ENTRY_BYTES_MAX, ENTRY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """`heartbeat_ms` must be well below `election_ms`: several may be lost without an election."""

    heartbeat_ms: int = 100
    election_ms: int = 1_000  # a follower waits this long, and up to as long again (paper, 5.2)
    entries_max: int = 512  # of one Append
    append_bytes_max: int = 512 * 1024
    inflight_max: int = 64  # Appends to one follower that are not answered yet

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_ms * 2 <= self.election_ms:
            raise ValueError("election_ms must be at least twice heartbeat_ms")
        most = self.append_bytes_max + self.entries_max * ENTRY_OVERHEAD_BYTES
        if self.entries_max > ENTRIES_MAX or most > ENTRY_BYTES_MAX:
            raise ValueError(
                f"an Append of entries_max entries and append_bytes_max must fit {ENTRY_BYTES_MAX} bytes"
            )
        if min(self.entries_max, self.append_bytes_max, self.inflight_max) < 1:
            raise ValueError("entries_max, append_bytes_max and inflight_max must be 1 or more")

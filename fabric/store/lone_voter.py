"""A voter that is its whole group: durable, and nobody to take over. How every fabric begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

from fabric.core.raft.configuration import Configuration
from fabric.core.raft.log import SnapshotMark
from fabric.errors import NoQuorumError
from fabric.store.files import DISK_FREE_BYTES_MIN
from fabric.store.voter_engine import IN_FLIGHT_MAX, Clock, VoterEngine
from fabric.store.voter_log import SEGMENT_BYTES
from proto.ids import Term, VoterId
from proto.raft import RaftMessage

ALONE = VoterId("alone.0")


class NoPeers:
    """Of a group of one: nothing is ever sent."""

    def send(self, to: VoterId, message: RaftMessage) -> None:
        del to, message

    async def send_snapshot(self, to: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None:
        raise NoQuorumError(f"voter {to} cannot be reached from here")


def lone_voter(
    directory: Path,
    *,
    clock: Clock,
    me: VoterId = ALONE,
    segment_bytes: int = SEGMENT_BYTES,
    in_flight_max: int = IN_FLIGHT_MAX,
    disk_free_bytes_min: int = DISK_FREE_BYTES_MIN,
    on_failure: Callable[[BaseException], None] | None = None,
) -> VoterEngine:
    return VoterEngine(
        directory,
        me,
        founders=Configuration(frozenset({me})),
        clock=clock,
        rng=Random(),  # noqa: S311  # jitter, not a secret
        peers=NoPeers(),
        segment_bytes=segment_bytes,
        in_flight_max=in_flight_max,
        disk_free_bytes_min=disk_free_bytes_min,
        on_failure=on_failure,
    )

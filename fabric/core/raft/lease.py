"""For how long nobody else can lead, as the leader knows it. To be shown: nothing is decided by it."""

from __future__ import annotations

from collections.abc import Mapping

from fabric.core.raft.configuration import Configuration, Tally
from proto.ids import VoterId


def lead_left_ms(
    configuration: Configuration, silent_ms: Mapping[VoterId, int], election_ms: int
) -> int | None:
    """A majority heard the leader at most so long ago, and refuses its vote to others for an election timeout
    after that (thesis, 6.4.1). None: there is only one voter, so no other can lead.

    Args:
        silent_ms: since when each voter has not answered; 0 of the leader itself.
    """
    if len(configuration.all_voters) < 2:
        return None
    for silent in sorted(silent_ms[voter] for voter in configuration.all_voters if voter in silent_ms):
        heard = {
            voter: voter in silent_ms and silent_ms[voter] <= silent for voter in configuration.all_voters
        }
        if configuration.tally(heard) is Tally.WON:
            return max(0, election_ms - silent)
    return 0

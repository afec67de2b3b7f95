"""How far this node trusts its own health. Source: Lifeguard, "Local Health Multiplier" (LHA-Probe)."""

from __future__ import annotations


class Awareness:
    """0 is healthy. Silence limits and look time-outs are multiplied by `factor`: a starved node accuses
    later."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.score = 0

    @property
    def factor(self) -> int:
        return self.score + 1

    def worse(self) -> None:
        """A missed ack or nack, an own refutation, a loop that was late."""
        self.score = min(self._most, self.score + 1)

    def better(self) -> None:
        self.score = max(0, self.score - 1)

"""What a node's operator keeps it out of, as labels of its record."""

from __future__ import annotations

VOTES_LABEL = "votes"
SCHEDULES_LABEL = "schedules"
NEVER = "never"

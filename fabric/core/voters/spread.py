"""Who comes first among equals: a zone with fewest, then a rack with fewest, then who is alive longest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from fabric.core.voters.facts import NodeFacts
from fabric.core.voters.rendezvous import weight

PURPOSE = "voter"


def pick(among: Iterable[NodeFacts], count: int, beside: Iterable[NodeFacts], now_ms: int) -> list[NodeFacts]:
    """Up to `count` of them, one after the other, each in the least used place beside all taken so far.

    Ages count by doubling: seconds decide nothing between nodes that have run for days, the hash does.
    """
    left = sorted(among, key=lambda node: node.node_id)
    taken = list(beside)
    picked: list[NodeFacts] = []
    while left and len(picked) < count:
        zones = Counter(node.zone for node in taken)
        racks = Counter((node.zone, node.rack) for node in taken)
        best = min(
            left,
            key=lambda node: (
                zones[node.zone],
                racks[node.zone, node.rack],
                -max(0, now_ms - node.since_ms).bit_length(),
                -weight(PURPOSE, node.node_id),
            ),
        )
        left.remove(best)
        taken.append(best)
        picked.append(best)
    return picked


def crowded_zone(voters: Iterable[NodeFacts]) -> str | None:
    """The zone whose loss would take the majority along, if there is one."""
    zones = Counter(node.zone for node in voters)
    total = sum(zones.values())
    return next((zone for zone, count in sorted(zones.items()) if 2 * count > total), None)


def relieves(node: NodeFacts, crowded: str, voters: Iterable[NodeFacts]) -> bool:
    """Whether a voter there instead of one in the crowded zone leaves the fullest zone less full.

    Without that, two zones would pass the majority to and fro.
    """
    zones = Counter(voter.zone for voter in voters)
    return node.zone != crowded and zones[node.zone] + 1 < zones[crowded]

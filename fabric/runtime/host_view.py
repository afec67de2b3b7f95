"""The host table as this node can make it now: rows for what is claimed, the fleet for who lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fabric.core.membership.model import Member
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.host_word import read_word
from fabric.core.placement.queries import GetSurroundings, ListHostFacts
from fabric.core.placement.request import PlacementRequest
from fabric.core.queries import Consistency
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from proto.ids import NodeId, ServerId

NAMED_IN = ("same_host", "different_host")  # hints that name servers
NO_FAILURES: Mapping[NodeId, int] = {}


async def read_table(
    state: HardState,
    fleet: Fleet,
    requests: Iterable[PlacementRequest],
    *,
    build_failures: Mapping[NodeId, int] = NO_FAILURES,
    consistency: Consistency = Consistency.SESSION,
    except_server: ServerId | None = None,
) -> HostTable:
    """For these requests: the groups they are of, and the servers they name, are looked up. `build_failures`:
    also those that hosts have not said yet. `except_server` counts as if it was nowhere. Raises FabricError
    from the reads."""
    wanted = tuple(requests)
    found = await state.read(ListHostFacts(except_server=except_server), consistency=consistency)
    around = await state.read(
        GetSurroundings(
            group_ids=tuple(sorted({each.group.group_id for each in wanted if each.group is not None})),
            server_ids=tuple(sorted(_named(wanted))),
            except_server=except_server,
        )
    )
    traits: dict[frozenset[str], frozenset[str]] = {}  # equal machines share one set: it is most of a host
    members = {member.record.node_id: member for member in fleet.members()}
    return HostTable(
        (
            replace(
                facts,
                traits=traits.setdefault(facts.traits, facts.traits),
                **said_of(members.get(facts.host.host_id), build_failures.get(facts.host.host_id, 0)),
            )
            for facts in found
        ),
        around,
    )


def said_of(member: Member | None, failures: int) -> dict[str, Any]:
    """Fields of a host's facts: what the membership table knows of it, and what it says of itself.
    `failures`: of its builds, as they were seen here."""
    if member is None:
        return {"state": None, "build_failures": failures}
    word = read_word(member.load.extra)
    return {
        "state": member.state,
        "build_failures": max(failures, word.failed_builds),
        "cached": word.images,
        "metrics": word.metrics,
    }


def _named(requests: Iterable[PlacementRequest]) -> set[ServerId]:
    return {ServerId(name) for each in requests for hint in NAMED_IN for name in each.hints.get(hint, ())}

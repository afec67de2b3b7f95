"""The host table as this node can make it now: rows for what is claimed, the fleet for who lives."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from fabric.core.membership.model import Member
from fabric.core.placement.host_facts import HostFacts, Surroundings
from fabric.core.placement.host_table import HostTable
from fabric.core.placement.host_word import read_word
from fabric.core.placement.queries import GetSurroundings, ListHostFacts
from fabric.core.placement.request import PlacementRequest
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from proto.ids import NodeId, ServerId

T = TypeVar("T")

NAMED_IN = ("same_host", "different_host")  # hints that name servers
NO_FAILURES: Mapping[NodeId, int] = {}
AT_ONCE = 128  # hosts; then the loop gets a turn: 20 us each


async def read_table(
    state: HardState,
    fleet: Fleet,
    requests: Iterable[PlacementRequest],
    *,
    except_server: ServerId | None = None,
) -> HostTable:
    """For these requests: the groups they are of, and the servers they name, are looked up. `except_server`
    counts as if it was nowhere. Raises FabricError from the reads."""
    found = await state.read(ListHostFacts(except_server=except_server))
    around = await state.read(around_of(requests, except_server=except_server))
    return await made_table(((facts, fleet.member(facts.host.host_id)) for facts in found), around)


def around_of(
    requests: Iterable[PlacementRequest],
    *,
    except_server: ServerId | None = None,
    with_aggregates: bool = True,
) -> GetSurroundings:
    wanted = tuple(requests)
    return GetSurroundings(
        group_ids=tuple(sorted({each.group.group_id for each in wanted if each.group is not None})),
        server_ids=tuple(sorted(set(_named(wanted)))),
        except_server=except_server,
        with_aggregates=with_aggregates,
    )


async def made_table(
    hosts: Iterable[tuple[HostFacts, Member | None]],
    around: Surroundings,
    build_failures: Mapping[NodeId, int] = NO_FAILURES,
) -> HostTable:
    """Of what rows say and whom the fleet knows, if it does. Others get their turns meanwhile."""
    facts = (joined(facts, member, build_failures) for facts, member in hosts)
    return await in_turns(HostTable.in_steps(facts, around, step=AT_ONCE))


def joined(
    facts: HostFacts, member: Member | None, build_failures: Mapping[NodeId, int] = NO_FAILURES
) -> HostFacts:
    """What rows say of a host, with what the membership table knows of it and what it says of itself.
    `build_failures`: also those that it has not said yet. Of a member, only what `said_by` has may be looked
    at."""
    failures = build_failures.get(facts.host.host_id, 0)
    if member is None:
        return replace(facts, state=None, build_failures=failures)
    word = read_word(member.load.extra)
    return replace(
        facts,
        state=member.state,
        build_failures=max(failures, word.failed_builds),
        cached=word.images,
        metrics=word.metrics,
    )


def said_by(member: Member | None) -> object:
    """While this is equal, `joined` gives the same."""
    return None if member is None else (member.state, member.load.extra)


async def in_turns(steps: Generator[None, None, T]) -> T:
    """Gives the loop a turn after each step."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        await asyncio.sleep(0)


def _named(requests: Iterable[PlacementRequest]) -> Iterator[ServerId]:
    return (ServerId(name) for each in requests for hint in NAMED_IN for name in each.hints.get(hint, ()))

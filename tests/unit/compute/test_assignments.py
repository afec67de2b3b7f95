"""The host's copy of its rows: complete, never older, never half."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.compute.assignments import FULL_INTERVAL_MS, SAVE_INTERVAL_MS, Assignments
from fabric.compute.errors import BadAssignmentsError, StaleAssignmentsError
from fabric.core.servers.queries import GetAssignments
from fabric.core.servers.states import Desired
from fabric.errors import NoQuorumError
from tests.fixtures.compute_doubles import ManualClock, StateDouble
from tests.fixtures.compute_rows import HOST, assigned, placed, uuid_of


class Kept:
    def __init__(self, tmp_path: Path) -> None:
        self.state = StateDouble()
        self.clock = ManualClock()
        self.file = tmp_path / "assignments.json"
        self.kept = self.open()

    def open(self) -> Assignments:
        return Assignments(self.state, HOST, self.file, self.clock)  # type: ignore[arg-type]

    def sinces(self) -> list[int]:
        return [query.since_index for query in self.state.reads if isinstance(query, GetAssignments)]


@pytest.fixture
def world(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


async def test_first_everything_then_changes_then_everything_again(world: Kept) -> None:
    world.state.put(assigned(placed("a")))
    await world.kept.pull()
    assert world.kept.is_complete
    world.state.put(assigned(placed("b")))
    await world.kept.pull()
    assert len(world.kept.servers) == 2
    world.clock.now_ms += FULL_INTERVAL_MS
    await world.kept.pull()
    assert world.sinces() == [0, 1, 0]


async def test_what_is_not_listed_any_more_is_gone(world: Kept) -> None:
    row = assigned(placed("a"))
    world.state.put(row)
    await world.kept.pull()
    world.state.drop(row.server.server_id)
    await world.kept.pull()
    assert world.kept.servers == {}
    assert world.kept.server_ids == frozenset()


async def test_pages_are_joined(world: Kept) -> None:
    world.state.page_size = 2
    for number in range(7):
        world.state.put(assigned(placed(f"s{number}")))
    await world.kept.pull()
    assert len(world.kept.servers) == 7
    assert world.sinces() == [0, 2, 4, 6]


async def test_a_server_that_came_without_a_change_makes_it_ask_for_everything(world: Kept) -> None:
    world.state.put(assigned(placed("a")))
    await world.kept.pull()
    world.state.put(assigned(placed("b")))
    world.state._changed[placed("b").server_id] = 1  # the index of its change is wrong
    await world.kept.pull()
    assert len(world.kept.servers) == 2
    assert world.sinces() == [0, 1, 0]


async def test_older_rows_are_refused_and_change_nothing(world: Kept) -> None:
    world.state.put(assigned(placed("a")))
    world.state.index = 10
    await world.kept.pull()
    world.state.index = 9
    world.state.servers.clear()
    with pytest.raises(StaleAssignmentsError):
        await world.kept.pull()
    assert len(world.kept.servers) == 1
    assert world.kept.applied_index == 10


async def test_older_rows_are_refused_after_a_restart_too(world: Kept) -> None:
    world.state.index = 10
    await world.kept.pull()
    world.state.index = 9
    reopened = world.open()
    with pytest.raises(StaleAssignmentsError):
        await reopened.pull()
    assert not reopened.is_complete
    world.state.index = 10
    await reopened.pull()
    assert reopened.is_complete


async def test_the_index_is_saved_at_once_then_now_and_then_and_on_request(world: Kept) -> None:
    def saved() -> int:
        value = json.loads(world.file.read_text())["applied_index"]
        assert isinstance(value, int)
        return value

    world.state.index = 1
    await world.kept.pull()
    assert saved() == 1
    world.state.index = 2
    await world.kept.pull()
    assert saved() == 1
    world.clock.now_ms += SAVE_INTERVAL_MS
    await world.kept.pull()
    assert saved() == 2
    world.state.index = 3
    await world.kept.pull()
    await world.kept.save()
    assert saved() == 3


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"applied_index": "7"}', '{"applied_index": -1}', "{"])
def test_a_damaged_file_stops_the_host_side(tmp_path: Path, content: str) -> None:
    """Starting at zero would switch the guard off without a word."""
    (tmp_path / "assignments.json").write_text(content)
    with pytest.raises(ValueError, match=r"assignments\.json is damaged"):
        Kept(tmp_path)


async def test_nothing_is_half_taken_when_a_later_page_fails(world: Kept) -> None:
    world.state.page_size = 1
    world.state.put(assigned(placed("a")))
    world.state.put(assigned(placed("b")))
    read = world.state.read

    async def failing(query, **rest):  # type: ignore[no-untyped-def]
        if query.since_index:
            raise NoQuorumError("gone")
        return await read(query, **rest)

    world.state.read = failing  # type: ignore[method-assign]
    with pytest.raises(NoQuorumError):
        await world.kept.pull()
    assert not world.kept.is_complete
    assert world.kept.servers == {}


async def test_answers_for_another_host_or_without_progress_are_refused(world: Kept) -> None:
    world.state.put(assigned(placed("a")))
    read = world.state.read

    def altered(**changes: object):  # type: ignore[no-untyped-def]
        async def answer(query, **rest):  # type: ignore[no-untyped-def]
            return replace(await read(query, **rest), **changes)

        return answer

    world.state.read = altered(host_id="b" * 32)
    with pytest.raises(BadAssignmentsError):
        await world.kept.pull()
    world.state.read = altered(more=True, next_since=0)
    with pytest.raises(BadAssignmentsError):
        await world.kept.pull()


async def test_guests_are_found_by_network_and_address(world: Kept) -> None:
    row = assigned(placed("a"), address="10.0.0.7")
    world.state.put(row)
    await world.kept.pull()
    found = world.kept.guest(uuid_of("net-a"), "10.0.0.7")
    assert found is not None
    assert found.server.name == "a"
    assert world.kept.guest(uuid_of("net-b"), "10.0.0.7") is None
    assert world.kept.guest(uuid_of("net-a"), "10.0.0.8") is None
    world.state.change(row.server.server_id, desired=Desired.ABSENT)
    await world.kept.pull()
    assert world.kept.guest(uuid_of("net-a"), "10.0.0.7") is None

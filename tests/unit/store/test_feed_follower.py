"""Reading what others committed: without a gap where it is still there, and in order with one's own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable

import pytest

from fabric.core.queries import Applied, AppliedEntry
from fabric.store.errors import StoreStoppedError
from fabric.store.feed_follower import FeedFollower
from fabric.store.in_order import InOrder
from fabric.store.listeners import Listeners
from fabric.store.shared_feed import FeedPage, FeedRow
from proto.commands import all_commands, encode_command
from proto.commands.identity import ProjectCreate
from proto.ids import LogIndex
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import DOMAIN, PROJECT

COMMAND = ProjectCreate(project_id=PROJECT, domain_id=DOMAIN, name="p")
PAGE = 3


class Feed:
    """A feed of three entries a page, and who follows it."""

    def __init__(self) -> None:
        self.rows: dict[int, bytes] = {}
        self.position = 0
        self.asked: list[int] = []
        self.fails = False
        self.heard: list[int] = []
        listeners = Listeners()
        listeners.add(lambda entry: self.heard.append(entry.index))
        self.order = InOrder(listeners)
        self.follower = FeedFollower(self.order, self.read, all_commands())

    def add(self, indices: Iterable[int], body: bytes | None = None) -> None:
        for index in indices:
            self.rows[index] = encode_command(COMMAND) if body is None else body
            self.position = max(self.position, index)

    async def read(self, after: LogIndex) -> FeedPage:
        self.asked.append(after)
        if self.fails:
            raise StoreStoppedError("away")
        found = [index for index in sorted(self.rows) if index > after][:PAGE]
        rows = tuple(FeedRow(LogIndex(index), self.rows[index], {}) for index in found)
        return FeedPage(LogIndex(self.position), rows)


@pytest.fixture
def feed() -> Feed:
    return Feed()


async def test_all_pages_are_told_in_order(feed: Feed) -> None:
    feed.add(range(1, 9))
    await feed.follower.catch_up()
    assert feed.heard == [1, 2, 3, 4, 5, 6, 7, 8]
    await feed.follower.catch_up()
    assert feed.heard == [1, 2, 3, 4, 5, 6, 7, 8]


async def test_one_committed_here_while_the_feed_was_read_is_told_once(feed: Feed) -> None:
    feed.add(range(1, 4))
    real = feed.read

    async def read(after: LogIndex) -> FeedPage:
        page = await real(after)
        feed.order.bring(LogIndex(1), AppliedEntry(LogIndex(1), COMMAND, Applied(LogIndex(1), {})))
        return page

    await FeedFollower(feed.order, read, all_commands()).catch_up()
    assert feed.heard == [1, 2, 3]


async def test_rejections_and_what_is_not_understood_are_passed_in_silence(feed: Feed) -> None:
    feed.add([1])
    feed.add([2], b"")
    feed.add([3], b"\xc1 of a later version")
    feed.add([4])
    await feed.follower.catch_up()
    assert feed.heard == [1, 4]


async def test_who_was_away_for_too_long_goes_on_from_what_is_there(feed: Feed) -> None:
    feed.add(range(100, 103))
    await feed.follower.catch_up()
    assert feed.heard == [100, 101, 102]
    feed.rows.clear()
    feed.position = 200
    await feed.follower.catch_up()
    assert feed.order.told == 200
    assert feed.order.passed_over == 2  # before the first that was there, and behind the last


async def test_a_database_that_was_put_back_is_followed_from_there(feed: Feed) -> None:
    feed.order.begin(LogIndex(50))
    feed.add([20])
    await feed.follower.catch_up()
    feed.add([21])
    await feed.follower.catch_up()
    assert feed.heard == [21]
    assert feed.order.passed_over == 1


async def test_what_is_refused_is_no_gap_and_what_is_not_understood_is_one(feed: Feed) -> None:
    feed.add([1, 3])
    feed.add([2], b"")
    await feed.follower.catch_up()
    assert (feed.heard, feed.order.passed_over) == ([1, 3], 0)
    feed.add([4], b"of a newer program")
    feed.add([5])
    await feed.follower.catch_up()
    assert (feed.heard, feed.order.passed_over) == ([1, 3, 5], 1)


async def test_it_looks_when_woken_and_again_after_a_failure(feed: Feed) -> None:
    feed.follower.look_s = 0.01
    feed.fails = True
    running = asyncio.create_task(feed.follower.run())
    try:
        await until(lambda: len(feed.asked) > 2)
        feed.fails = False
        feed.add([1])
        await until(lambda: feed.heard == [1])
        feed.follower.look_s = 3_600.0
        asked = len(feed.asked)
        await until(lambda: len(feed.asked) >= asked)
        feed.add([2])
        await asyncio.sleep(0)
        feed.follower.wake()
        await until(lambda: feed.heard == [1, 2])
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

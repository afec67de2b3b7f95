"""Looks at others' ports: each is answered, few at once, and none twice for nothing."""

from __future__ import annotations

import asyncio

import pytest

from fabric.mesh.contract import LinkFact
from fabric.runtime.knocker import KNOCKS_MAX, Knocker
from proto.ids import NodeId
from proto.membership import Finding
from tests.fixtures.membership_news import node
from tests.fixtures.mesh_nodes import until


class Street:
    """Every door answers when it is told to."""

    def __init__(self, fact: LinkFact = LinkFact.UP) -> None:
        self.fact = fact
        self.opened = asyncio.Event()
        self.at_once = 0
        self.at_once_max = 0
        self.calls: list[str] = []

    async def probe(self, endpoint: str) -> LinkFact:
        self.calls.append(endpoint)
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await self.opened.wait()
        self.at_once -= 1
        return self.fact


@pytest.mark.parametrize(
    ("fact", "finding"),
    [
        (LinkFact.UP, Finding.REACHABLE),
        (LinkFact.REFUSED, Finding.REFUSED),
        (LinkFact.LOST, Finding.SILENT),
    ],
)
async def test_each_fact_is_a_finding(fact: LinkFact, finding: Finding) -> None:
    street, found = Street(fact), []
    knocker = Knocker(street.probe, lambda *answer: found.append(answer))
    street.opened.set()
    knocker.knock(node(1), "tcp://a:1")
    await until(lambda: found == [(node(1), finding)])


async def test_hundreds_are_answered_a_few_at_once() -> None:
    street = Street()
    found: list[NodeId] = []
    knocker = Knocker(street.probe, lambda node_id, _: found.append(node_id))
    for number in range(KNOCKS_MAX * 3):
        knocker.knock(node(number), f"tcp://a:{number}")
    await until(lambda: street.at_once == KNOCKS_MAX)
    street.opened.set()
    await until(lambda: len(found) == KNOCKS_MAX * 3)
    assert street.at_once_max == KNOCKS_MAX


async def test_a_second_knock_at_the_same_door_waits_for_the_first_answer() -> None:
    street, found = Street(), []
    knocker = Knocker(street.probe, lambda *answer: found.append(answer))
    knocker.knock(node(1), "tcp://a:1")
    knocker.knock(node(1), "tcp://a:1")
    street.opened.set()
    await until(lambda: bool(found))
    assert street.calls == ["tcp://a:1"]
    knocker.knock(node(1), "tcp://a:1")
    await until(lambda: len(found) == 2)


async def test_close_ends_what_is_under_way() -> None:
    street, found = Street(), []
    knocker = Knocker(street.probe, lambda *answer: found.append(answer))
    for number in range(KNOCKS_MAX + 1):
        knocker.knock(node(number), "tcp://a:1")
    await until(lambda: street.at_once == KNOCKS_MAX)
    await knocker.close()
    street.opened.set()
    await asyncio.sleep(0)
    assert found == []

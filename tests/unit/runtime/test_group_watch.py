"""A voter ends when somebody who may conduct leads a later life of the group, and for no other reason."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from fabric.core.membership.model import Member
from fabric.runtime import group_watch
from fabric.runtime.group_watch import GROUP_LABEL, GroupWatch, newest_incarnation
from tests.fixtures.mesh_view_double import MeshDouble, member_named


def conductor(name: str, label: str, *, role: str = "conductor") -> Member:
    member = member_named(name, (role, 9))
    return replace(member, record=replace(member.record, labels={GROUP_LABEL: label}))


@pytest.mark.parametrize("label", ["", "x", "-3", "3.5", "9" * 40, "\u0663"])
def test_nonsense_is_no_incarnation(label: str) -> None:
    assert newest_incarnation(MeshDouble([conductor("a", label)])) == 0


def test_only_who_conducts_is_believed() -> None:
    others = [conductor("a", "2"), conductor("b", "7", role="scheduler")]
    assert newest_incarnation(MeshDouble(others)) == 2


async def test_a_later_incarnation_ends_the_voter_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_watch, "LOOK_S", 0)
    fleet = MeshDouble([conductor("a", "2")])
    ended = asyncio.Event()
    times: list[int] = []

    async def superseded() -> None:
        times.append(1)
        ended.set()

    watch = asyncio.create_task(GroupWatch(fleet, 2, superseded).run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not ended.is_set(), "it is of the same incarnation"
    fleet.rows.append(conductor("b", "3"))
    await asyncio.wait_for(ended.wait(), 10)
    for _ in range(20):
        await asyncio.sleep(0)
    assert times == [1]
    watch.cancel()

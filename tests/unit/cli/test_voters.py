"""`fabric voters`: what it shows of the log's voters, and what it says after it has done something."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from fabric.runtime.node_admin import NodeRefusedError
from tests.fixtures.local_agent import VoterDeskDouble, local_parts
from tests.fixtures.mesh_view_double import MeshDouble
from tests.unit.cli.asking import Asked, asked

__all__ = ["asked"]  # a fixture, used by its name


def row(node: str, role: str, **changes: Any) -> dict[str, Any]:
    shown = {"id": f"{node}.1", "role": role, "node": node, "state": "alive", "zone": "z1", "wish": ""}
    return shown | {"lag": 0, "silent_s": 0.0, "levels": "1-1", "halted": ""} | changes


@dataclass
class Desk(VoterDeskDouble):
    rows: list[dict[str, Any]] = field(default_factory=lambda: [row("h1", "leader")])
    more: dict[str, Any] = field(default_factory=dict)
    refusal: str = ""
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def show(self) -> dict[str, Any]:
        told = {"voters": self.rows, "term": 1, "index": 9, "level": 1, "may_fail": 0, "autopilot": ""}
        return told | {"seen_from": "leader"} | self.more

    async def wish(self, node: str, wish: str) -> dict[str, Any]:
        return self._done("wish", node, wish)

    async def promote(self, node: str) -> dict[str, Any]:
        return self._done("promote", node)

    async def lead(self, node: str) -> dict[str, Any]:
        return self._done("lead", node)

    def _done(self, *what: str) -> dict[str, Any]:
        if self.refusal:
            raise NodeRefusedError(self.refusal)
        self.asked.append(what)
        return {"id": "1", "name": "h3"}


def listed(asked: Asked, desk: Desk, *argv: str) -> str:
    with asked.answering(local_parts(MeshDouble(), voters=desk)):
        done = asked("voters", "list", *argv)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_table_shows_who_leads_and_how_far_each_is(asked: Asked) -> None:
    rows = [
        row("h1", "leader"),
        row("h2", "voter", lag=7, silent_s=2.34, wish="unwanted", state="suspect", zone="z2"),
        row("h3", "learner", lag=None, silent_s=None),
    ]
    head, *lines = listed(asked, Desk(rows, {"may_fail": 0})).splitlines()
    assert head.split() == ["NODE", "ROLE", "STATE", "ZONE", "BEHIND", "SILENT", "LEVELS", "WISH"]
    assert [line.split() for line in lines[:3]] == [
        ["h1", "leader", "alive", "z1", "0", "0.0", "s", "1-1", "-"],
        ["h2", "voter", "suspect", "z2", "7", "2.3", "s", "1-1", "unwanted"],
        ["h3", "learner", "alive", "z1", "-", "-", "1-1", "-"],
    ]


@pytest.mark.parametrize(
    ("may_fail", "said"),
    [
        (0, "not highly available: losing a voter stops changes until it is back"),
        (1, "changes go on without any one voter"),
        (2, "changes go on without any 2 voters"),
    ],
)
def test_it_says_what_may_fail(asked: Asked, may_fail: int, said: str) -> None:
    assert said in listed(asked, Desk(more={"may_fail": may_fail})).splitlines()


def test_it_says_what_the_fabric_does_about_it(asked: Asked) -> None:
    assert "now: waits for h3" in listed(asked, Desk(more={"autopilot": "waits for h3"})).splitlines()
    assert "now:" not in listed(asked, Desk())


def test_it_says_the_level_and_who_has_halted_and_what_to_do(asked: Asked) -> None:
    rows = [row("h1", "leader", levels="1-2"), row("h2", "voter", halted="entry 7 raises the level to 2")]
    said = listed(asked, Desk(rows, {"level": 2}))
    assert "the fabric is at level 2" in said.splitlines()
    assert "h2 has halted: entry 7 raises the level to 2\n    cure: run a newer version there" in said
    assert "h1 has halted" not in said


def test_what_is_not_the_leaders_word_says_so(asked: Asked) -> None:
    for seen_from, is_said in (("here", True), ("leader", False)):
        with asked.answering(local_parts(MeshDouble(), voters=Desk(more={"seen_from": seen_from}))):
            done = asked("voters", "list")
        assert ("the leader cannot be reached" in done.stderr) is is_said


def test_as_json_it_is_what_the_agent_answered(asked: Asked) -> None:
    desk = Desk(more={"may_fail": 1})
    found = json.loads(listed(asked, desk, "--json"))
    assert found["voters"] == desk.rows
    assert (found["may_fail"], found["seen_from"], found["term"]) == (1, "leader", 1)


@pytest.mark.parametrize(
    ("verb", "asked_for", "said"),
    [
        ("add", ("wish", "h/3", "wanted"), "h3 is to vote; `fabric voters list` shows how far it is"),
        (
            "remove",
            ("wish", "h/3", "unwanted"),
            "h3 is not to vote; `fabric voters list` shows when it stops",
        ),
        ("auto", ("wish", "h/3", ""), "whether h3 votes is the fabric's to choose"),
        ("promote", ("promote", "h/3"), "h3 is to vote next; `fabric voters list` shows how far it is"),
        ("lead", ("lead", "h/3"), "h3 leads"),
    ],
)
def test_what_was_done_is_told_and_what_was_refused_fails(
    asked: Asked, verb: str, asked_for: tuple[str, ...], said: str
) -> None:
    desk = Desk()
    with asked.answering(local_parts(MeshDouble(), voters=desk)):
        done = asked("voters", verb, "h/3")
        desk.refusal = "ask somebody else"
        refused = asked("voters", verb, "h/3")
    assert (done.returncode, done.stdout.strip()) == (0, said)
    assert desk.asked == [asked_for]
    assert refused.returncode != 0
    assert "ask somebody else" in refused.stderr


def test_where_nobody_votes_it_says_why(asked: Asked) -> None:
    said = listed(asked, Desk(rows=[]))
    assert "no voters" in said
    assert "database" in said
    assert "highly available" not in said

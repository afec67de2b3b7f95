"""`fabric node`: what it shows of one node, and what it says after it has done something."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from fabric.core.membership.model import Load, MemberState
from fabric.core.placement.host_word import CPU_METRICS, HostWord, packed, write_word
from tests.fixtures.local_agent import local_parts
from tests.fixtures.mesh_view_double import NOW_MS, MeshDouble, link_to, member_named
from tests.unit.cli.asking import Asked, asked
from tests.unit.cli.desk import Desk

__all__ = ["asked"]  # a fixture, used by its name


def shown(asked: Asked, view: MeshDouble, name: str) -> dict[str, str]:
    with asked.answering(local_parts(view, nodes=Desk(view))):
        done = asked("node", "show", name)
    assert done.returncode == 0, done.stderr
    lines = [line.partition("  ") for line in done.stdout.splitlines()]
    return {label: value.strip() for label, _, value in lines}


@pytest.mark.parametrize(
    ("is_up", "is_bad", "said"),
    [
        (True, False, "up for 11s (tree)"),
        (False, False, "down for 11s (tree)"),
        (True, True, "bad, up for 11s (tree)"),
    ],
)
def test_a_link_says_since_when_it_is_up_or_down(asked: Asked, is_up: bool, is_bad: bool, said: str) -> None:
    link = link_to("a", is_up=is_up, is_bad=is_bad, changed_ms=NOW_MS - 11_000)
    view = MeshDouble([member_named("me"), member_named("a")], [link])
    assert shown(asked, view, "a")["link"] == said
    with asked.answering(local_parts(view, nodes=Desk(view))):
        found = json.loads(asked("node", "show", "a", "--json").stdout)
    assert (found["link"]["since_s"], found["link"]["changed_s"]) == (60.0, 11.0)


def test_the_state_says_since_when(asked: Asked) -> None:
    a = member_named("a", state=MemberState.STALLED, changed_ms=NOW_MS - 12_000)
    assert shown(asked, MeshDouble([member_named("me"), a]), "a")["state"] == "stalled for 12s"


def test_heard_over_a_link_that_is_down_now(asked: Asked) -> None:
    a = member_named("a", is_linked=True, heard_ms=NOW_MS - 9_000, spoke_ms=NOW_MS - 9_000)
    view = MeshDouble([member_named("me"), a], [link_to("a", is_up=False)])
    assert shown(asked, view, "a")["heard"] == "9.0s ago, by a link that is down now"


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (Load(servers=2), "2"),
        (Load(servers=2, is_draining=True), "2, draining"),
        (Load(servers=2, is_draining=True, extra={"drain_reason": "new disk"}), "2, draining: new disk"),
        (Load(servers=2, extra={"drain_reason": "left over"}), "2"),
    ],
)
def test_a_drained_node_says_why(asked: Asked, load: Load, said: str) -> None:
    view = MeshDouble([member_named("me"), replace(member_named("a"), load=load)])
    assert shown(asked, view, "a")["servers"] == said


def test_what_a_host_says_to_the_scheduler_is_shown_where_it_says_it(asked: Asked) -> None:
    metrics = dict(zip(CPU_METRICS, (12, 8, 3, 87, 1, 2_600), strict=True))
    word = HostWord(failed_builds=3, images=packed(["ab" * 32, "cd" * 32]), metrics=metrics)
    a = replace(member_named("a"), load=Load(extra=write_word(word)))
    view = MeshDouble([member_named("me"), a])
    said = shown(asked, view, "a")
    assert said["processors"] == "12 % (user 8, kernel 3, iowait 1), 2600 MHz"
    assert said["images"] == "2 in its cache"
    assert said["failed builds"] == "3 in a row: it comes last while others fit"
    assert not {"processors", "images", "failed builds"} & shown(asked, view, "me").keys()
    with asked.answering(local_parts(view, nodes=Desk(view))):
        found = json.loads(asked("node", "show", "a", "--json").stdout)
    assert (found["failed_builds"], found["images_cached"], found["metrics"]) == (3, 2, metrics)


@pytest.mark.parametrize(
    ("verb", "done", "said"),
    [
        ("drain", {"seen": True}, "h3 takes no new servers; `fabric node undrain h3` ends that\n"),
        ("drain", {"seen": False}, "ends that; it has not said so itself yet\n"),
        ("undrain", {"was_draining": True, "seen": True}, "h3 takes new servers again\n"),
        ("rotate-key", {"name": "h1", "tokens_dead": 0}, "h1 (1) has new keys\n"),
        (
            "rotate-key",
            {"name": "h1", "tokens_dead": 2},
            "has new keys; join tokens that name its old key and are of no use now: 2\n",
        ),
        ("undrain", {"was_draining": False, "seen": True}, "h3 was not draining; nothing was changed\n"),
    ],
)
def test_what_was_done_is_told(asked: Asked, verb: str, done: dict[str, Any], said: str) -> None:
    view = MeshDouble()
    with asked.answering(local_parts(view, nodes=Desk(view, done=done))):
        told = asked("node", verb, *([] if verb == "rotate-key" else ["h3"]))
    assert (told.returncode, told.stdout) == (0, "")
    assert told.stderr.endswith(said)


def test_the_round_trip_to_one_that_is_gone_is_history(asked: Asked) -> None:
    for state, said in ((MemberState.SUSPECT, "0.42ms"), (MemberState.HOST_DOWN, "-")):
        view = MeshDouble([member_named("me"), member_named("a", rtt_us=420, state=state)])
        assert shown(asked, view, "a")["round trip"] == said

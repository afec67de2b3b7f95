"""Facts become findings: each way a mesh can be ill has its word, whom it is about, and a cure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fabric.control.diagnosis import Severity
from fabric.control.doctor import diagnose, report
from fabric.control.doctor_node import DAY_MS
from fabric.core.membership.model import Member, MemberState
from fabric.runtime.level_watch import HALTED_LABEL
from fabric.runtime.mesh_exam import Door, MeshExam, PeerExam, Twin
from fabric.runtime.peer_probes import Echo, Seen
from proto.membership import Finding
from tests.fixtures.mesh_view_double import link_to, member_named

WALL_MS = 1_700_000_000_000
UNLINKED, LATE = "fabric.mesh.unreachable", "fabric.mesh.deadline"
ECHO = Echo(rtt_us=400, size=64, clock_ahead_ms=0, lag_ms=0)
SEEN = Seen(
    state="alive",
    age_ms=200,
    is_linked=True,
    is_up=True,
    is_bad=False,
    epoch=1,
    root=bytes(8),
    members=2,
    is_isolated=False,
    door="",
)


def well(name: str = "a", **changes: Any) -> PeerExam:
    """A peer that is well, but for `changes`."""
    state = changes.pop("state", MemberState.ALIVE)
    facts: dict[str, Any] = {
        "member": member_named(name, state=state),
        "age_ms": 300,
        "spoke_age_ms": 300,
        "link": link_to(name),
        "expires_ms": WALL_MS + 300 * DAY_MS,
        "knock": Finding.REACHABLE,
        "echo": ECHO,
        "large": replace(ECHO, size=32_768),
        "seen": SEEN,
        "is_root_equal": True,
    }
    return PeerExam(**(facts | changes))


def silent(name: str = "a", **changes: Any) -> PeerExam:
    """A peer that does not answer."""
    facts: dict[str, Any] = {
        "state": MemberState.HOST_DOWN,
        "age_ms": 60_000,
        "spoke_age_ms": 60_000,
        "link": None,
        "knock": Finding.SILENT,
        "echo": None,
        "echo_error": UNLINKED,
        "large": None,
        "seen": None,
        "is_root_equal": None,
    }
    return well(name, **(facts | changes))


def exam(*peers: PeerExam, **changes: Any) -> MeshExam:
    facts: dict[str, Any] = {
        "me": member_named("me"),
        "wall_ms": WALL_MS,
        "expires_ms": WALL_MS + 300 * DAY_MS,
        "listening": Finding.REACHABLE,
        "is_isolated": False,
        "awareness": 0,
        "lag_ms": 3,
        "root": bytes(8),
        "members": 1 + len(peers),
        "dropped_lately": {},
        "strangers": {},
        "former": {},
        "refused": {},
        "twins": (),
        "leaving": (),
        "doors": (),
        "peers": peers,
        "left_out": 0,
        "is_whole": True,
        "took_ms": 120,
    }
    return MeshExam(**(facts | changes))


def found(facts: MeshExam) -> list[tuple[str, str, str | None]]:
    """(check, severity, peer); every finding says what and how to cure it."""
    diagnoses = diagnose(facts)
    assert all(each.what and each.cure for each in diagnoses)
    return [(each.check, each.severity.value, each.peer) for each in diagnoses]


def test_all_well() -> None:
    facts = exam(well("a"), well("b", is_root_equal=None))
    assert diagnose(facts) == ()
    assert report(facts)["ok"] is True


SILENCES = [
    (silent(knock=Finding.REFUSED), "agent_down", "systemctl start fabric-agent"),
    (silent(knock=Finding.REFUSED, spoke_age_ms=400, has_spoken_since=True), "one_way", "7000/tcp"),
    (silent(spoke_age_ms=900, has_spoken_since=True), "one_way", "7000/tcp from me"),
    (silent(spoke_age_ms=900), "host_silent", "fabric node remove a"),
    (silent(spoke_age_ms=None), "host_silent", "fabric node remove a"),
    (silent(others={"b": "host_down"}), "host_silent", "fabric node remove a"),
    (silent(others={"b": "alive", "c": "suspect"}), "path_cut", "ip route get"),
    (silent(knock=Finding.REACHABLE, spoke_age_ms=None), "no_handshake", "another program"),
    (silent(knock=Finding.REACHABLE, others={"b": "alive"}), "no_handshake", "another program"),
    (silent(knock=Finding.REACHABLE, state=MemberState.AGENT_DOWN), "no_handshake", "another program"),
    (silent(knock=Finding.REACHABLE), "agent_stuck", "top"),
    (silent(knock=Finding.REACHABLE, spoke_age_ms=None, state=MemberState.STALLED), "agent_stuck", "top"),
    (silent(knock=Finding.REACHABLE, echo_error=LATE), "agent_stuck", "top"),
    (silent(knock=Finding.REACHABLE, echo_error=LATE, others={"b": "stalled"}), "agent_stuck", "top"),
    (silent(knock=Finding.REACHABLE, echo_error=LATE, others={"b": "alive"}), "one_way", "mesh.address"),
    (
        silent(knock=Finding.REACHABLE, echo_error=LATE, others={"b": "alive"}, state=MemberState.STALLED),
        "agent_stuck",
        "top",
    ),
]


@pytest.mark.parametrize(("peer", "check", "word"), SILENCES)
def test_why_a_peer_does_not_answer(peer: PeerExam, check: str, word: str) -> None:
    (diagnosis,) = diagnose(exam(peer))
    assert (diagnosis.check, diagnosis.severity, diagnosis.peer) == (check, Severity.ERROR, "a")
    assert word in diagnosis.cure


def test_what_was_not_looked_at_in_time_is_not_judged() -> None:
    peer = silent(knock=None, echo_error="")
    assert found(exam(peer, is_whole=False)) == [("deadline", "note", None)]


VIEWS = [
    (well(state=MemberState.HOST_DOWN), [("stale_view", "warning", "a")]),
    (well(state=MemberState.STALLED), [("stale_view", "warning", "a")]),
    (well(seen=replace(SEEN, state="host_down")), [("one_way", "error", "a")]),
    (well(seen=replace(SEEN, state="suspect")), []),
    (well(seen=replace(SEEN, state="")), [("unknown_there", "warning", "a")]),
    (well(link=link_to("a", is_bad=True)), [("bad_link", "warning", "a")]),
    (well(seen=replace(SEEN, is_bad=True)), [("bad_link", "warning", "a")]),
    (well(is_root_equal=False), []),  # changes are under way: both know as many
    (well(is_root_equal=False, seen=replace(SEEN, members=9)), [("tables_differ", "warning", "a")]),
    (well(large=None, large_error=LATE), [("mtu", "error", "a")]),
    (well(large=None), []),  # no time for it
    (well(echo=replace(ECHO, lag_ms=900)), [("lag", "warning", "a")]),
    (well(echo=None, echo_error="fabric.mesh.no_method", large=None), []),
]


@pytest.mark.parametrize(("peer", "expected"), VIEWS)
def test_a_peer_that_answers(peer: PeerExam, expected: list[tuple[str, str, str | None]]) -> None:
    assert found(exam(peer)) == expected


NODES: list[tuple[dict[str, Any], list[tuple[str, str, str | None]]]] = [
    ({"listening": Finding.REFUSED}, [("own_port", "error", None)]),
    ({"listening": None}, []),
    ({"lag_ms": 400}, [("lag", "warning", None)]),
    ({"lag_ms": 4_000}, [("lag", "error", None)]),
    ({"awareness": 5}, [("awareness", "warning", None)]),
    ({"awareness": 1}, []),
    ({"expires_ms": WALL_MS + 10 * DAY_MS}, [("certificate", "warning", None)]),
    ({"expires_ms": WALL_MS + DAY_MS}, [("certificate", "error", None)]),
    ({"expires_ms": WALL_MS - DAY_MS}, [("certificate", "error", None)]),
    ({"expires_ms": None}, []),
    ({"dropped_lately": {"wrong_fabric": 4_000}}, [("wrong_fabric", "warning", None)]),
    ({"dropped_lately": {"unknown_version": 0}}, [("unknown_version", "warning", None)]),
    ({"dropped_lately": {"forged": 0}}, [("forged", "warning", None)]),
    ({"dropped_lately": {"unpackable": 0}}, [("unpackable", "warning", None)]),
    ({"dropped_lately": {"no_link_or_full": 0}}, []),
    (
        {"doors": (Door(owner="a", endpoint="tcp://h:7401", knock=Finding.SILENT),)},
        [("door_port", "warning", "a")],
    ),
    ({"doors": (Door(owner="a", endpoint="tcp://h:7401", knock=Finding.REACHABLE),)}, []),
]


@pytest.mark.parametrize(("facts", "expected"), NODES)
def test_this_node(facts: dict[str, Any], expected: list[tuple[str, str, str | None]]) -> None:
    assert found(exam(well(), **facts)) == expected


def test_an_isolated_node_is_told_so_first() -> None:
    facts = exam(silent("a"), silent("b"), is_isolated=True)
    assert found(facts)[0] == ("isolated", "error", None)
    assert {each[0] for each in found(facts)} == {"isolated", "host_silent"}


def test_one_whose_only_peers_were_switched_off_is_not_called_isolated() -> None:
    """Their machines answer, so this node's network works."""
    assert found(exam(silent(knock=Finding.REFUSED), is_isolated=True)) == [("agent_down", "error", "a")]
    assert found(exam(is_isolated=True)) == []


def test_a_removed_node_is_told_once() -> None:
    refused = {"knock": Finding.REACHABLE, "spoke_age_ms": None}
    assert found(exam(silent("a", **refused), silent("b", **refused, state=MemberState.STALLED))) == [
        ("not_admitted", "error", None)
    ]
    assert found(exam(silent("a", **refused), well("b"))) == [("no_handshake", "error", "a")]


def skewed(name: str, ahead_ms: int, *, rtt_us: int = 400) -> PeerExam:
    return well(name, echo=replace(ECHO, clock_ahead_ms=ahead_ms, rtt_us=rtt_us))


def test_clocks() -> None:
    assert found(exam(skewed("a", 900), well("b"), well("c"))) == []
    assert found(exam(skewed("a", 3_000), well("b"), well("c"))) == [("clock", "warning", "a")]
    assert found(exam(skewed("a", -86_400_000), well("b"))) == [("clock", "error", "a")]
    assert found(exam(skewed("a", 1_500, rtt_us=1_400_000), well("b"))) == []  # less than can be measured
    ours = diagnose(exam(skewed("a", 5_000), skewed("b", 5_100), well("c")))
    assert [(each.peer, each.what) for each in ours] == [
        (None, "this machine's clock is about 5.1 s behind 2 of 3 peers")
    ]
    assert len(found(exam(skewed("a", 5_000), skewed("b", -5_000)))) == 2  # who knows which is right


def test_strangers_are_told_with_their_addresses() -> None:
    (stranger,) = diagnose(
        exam(dropped_lately={"key_not_admitted": 2_000}, strangers={"10.0.0.9": 40, "10.0.0.8": 2})
    )
    assert "from 10.0.0.9, 10.0.0.8" in stranger.what
    assert "2 s ago" in stranger.what


def test_a_stranger_with_a_members_former_key_is_named_and_rotation_is_a_cause() -> None:
    facts = exam(dropped_lately={"key_not_admitted": 2_000}, strangers={"10.0.0.9": 1}, former={"h2": 2_000})
    (stranger,) = diagnose(facts)
    assert "from 10.0.0.9), with the former key of h2; last 2 s ago" in stranger.what
    assert "keys were rotated" in stranger.cure
    assert "former" not in diagnose(exam(dropped_lately={"forged": 1}, former={"h2": 1}))[0].what


def test_two_owners_of_one_identity_are_an_error() -> None:
    twin = Twin(name="h3", endpoints=("tcp://b:1", "tcp://a:1"), age_ms=4_000)
    (error,) = diagnose(exam(well("a"), twins=(twin,)))
    assert (error.check, error.severity.value, error.peer) == ("two_owners", "error", "h3")
    assert error.what.endswith("at tcp://a:1 and tcp://b:1; last seen 4 s ago")


def test_a_name_that_waits_is_a_warning() -> None:
    waiting = well("h3")
    record = replace(waiting.member.record, labels={"name_wanted": "h9"})
    waiting = replace(waiting, member=replace(waiting.member, record=record))
    (warning,) = diagnose(exam(well("a"), waiting))
    assert (warning.check, warning.severity.value, warning.peer) == ("name_waits", "warning", "h3")
    assert warning.what == "h3 is to be called h9, and is not yet"
    assert "fabric events --event node.rename_waits --node h3" in warning.cure


def test_who_leaves_is_a_note() -> None:
    facts = exam(well("a"), leaving=("h3", "h4"))
    (note,) = diagnose(facts)
    assert (note.check, note.what) == ("leaving", "h3, h4: stopped on purpose a moment ago, and not examined")
    assert report(facts)["ok"] is True


def test_versions_are_a_note_and_all_is_well() -> None:
    other = well("a")
    other.member = member_named("a", software="9.9")
    facts = exam(other)
    assert found(facts) == [("versions", "note", None)]
    assert report(facts)["ok"] is True


def test_the_worst_comes_first() -> None:
    facts = exam(well("a", echo=replace(ECHO, lag_ms=900)), silent("b"), lag_ms=400)
    assert [each[1:] for each in found(facts)] == [("error", "b"), ("warning", None), ("warning", "a")]


def test_the_report_keeps_its_shape() -> None:
    told = report(exam(well("a"), silent("b")))
    assert told["ok"] is False
    assert {"node", "members", "examined", "isolated", "took_s", "findings", "peers"} <= told.keys()
    (finding,) = told["findings"]
    assert list(finding) == ["check", "severity", "peer", "what", "cure"]
    good, bad = told["peers"]
    assert (good["rtt_ms"], good["port"], good["sees_us"], good["large_ok"]) == (
        0.4,
        "reachable",
        "alive",
        True,
    )
    assert (bad["rtt_ms"], bad["port"], bad["sees_us"], bad["error"]) == (None, "silent", None, UNLINKED)


def test_a_voter_that_has_halted_is_told_of_with_what_to_run() -> None:
    def halted(member: Member) -> Member:
        return replace(member, record=replace(member.record, labels={HALTED_LABEL: "entry 7"}))

    here, there = halted(member_named("me")), halted(member_named("a"))
    assert found(exam(well("a"), me=here)) == [("halted", "error", None)]
    assert found(exam(well("a", member=there))) == [("halted", "warning", "a")]

"""What `fabric events` shows of applied commands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.queries import Applied, AppliedEntry
from fabric.runtime.control_story import ControlStory
from fabric.runtime.events import KINDS, EventLog
from proto.commands import Command
from proto.commands.moves import (
    MoveAbort,
    MoveBegin,
    MoveConfirm,
    MoveForce,
    MovePlace,
    MoveRevert,
    MoveUnplaceable,
)
from proto.commands.nodes import HostUpdate, NodeRemove, RoleHold, VoterWish
from proto.commands.servers import (
    Alike,
    ServerAct,
    ServerCreateAlike,
    ServerCreateHinted,
    ServerExpire,
    ServerPin,
    ServerPlace,
    ServerRemoved,
    ServerUnplaceable,
)
from proto.commands.shelving import ServerShelved, ServerUnshelve
from proto.ids import Fence, LogIndex, NodeId, RequestId, ServerId, UserId
from tests.fixtures.mesh_view_double import TwoClocks
from tests.fixtures.store_world import HOST_B, NODE, node_admit, observed

SERVER = ServerId("s1")


def told(command: Command, **result: object) -> list[tuple[str, str, dict[str, str]]]:
    events = EventLog(TwoClocks())
    names: dict[NodeId, str] = {NODE: "h1"}
    story = ControlStory(events, names.get, node="me")
    index = LogIndex(7)
    story.tell(AppliedEntry(index, command, Applied(index, result)))
    assert {event.event for event in events.recent()} <= set(KINDS)
    return [(event.event, event.node, dict(event.fields)) for event in events.recent()]


def test_a_node_is_named_as_it_enters() -> None:
    assert told(node_admit("c" * 32)) == [
        ("node.admitted", node_admit("c" * 32).name, {"id": "c" * 32, "index": "7"})
    ]


def test_a_node_is_named_by_its_id_where_nobody_knows_it_any_more() -> None:
    assert told(NodeRemove(node_id=HOST_B)) == [("node.removed", HOST_B, {"id": HOST_B, "index": "7"})]


def test_a_role_is_told_with_its_fence() -> None:
    assert told(RoleHold(role="scheduler", node_id=NODE)) == [
        ("role.granted", "h1", {"role": "scheduler", "fence": "7"})
    ]


@pytest.mark.parametrize(
    ("enabled", "reason", "said"),
    [
        (False, "new disk", [("node.drained", "it takes no new servers: new disk")]),
        (False, "", [("node.drained", "it takes no new servers")]),
        (True, "", [("node.undrained", "it takes new servers again")]),
        (None, "", []),
    ],
)
def test_a_drain_says_why(enabled: bool | None, reason: str, said: list[tuple[str, str]]) -> None:
    found = told(HostUpdate(host_id=NODE, enabled=enabled, disabled_reason=reason))
    assert [(event, fields["reason"]) for event, _, fields in found] == said
    assert all(node == "h1" for _, node, _ in found)


def test_a_server_is_told_of_at_its_host_or_else_here() -> None:
    act = ServerAct(server_id=SERVER, verb="reboot_hard", request_id=RequestId("q"), deadline_ms=1)
    assert told(act) == [("server.reboot_hard", "me", {"server": SERVER, "index": "7"})]
    place = ServerPlace(server_id=SERVER, host_id=NODE, fence=Fence(1), read_generation=1)
    removed = ServerRemoved(server_id=SERVER, host_id=HOST_B)
    sums = {"md5": "5", "sha256": "2", "sha512": "1"}
    saved = ServerShelved(
        server_id=SERVER, host_id=HOST_B, generation=1, size_bytes=1, virtual_bytes=1, **sums
    )
    for command, event, node in (
        (place, "server.placed", "h1"),
        (observed(SERVER, 1), "server.observed", "h1"),
        (removed, "server.removed", HOST_B),
        (saved, "server.shelved", HOST_B),
        (ServerUnshelve(server_id=SERVER, request_id=RequestId("q"), deadline_ms=1), "server.unshelve", "me"),
    ):
        assert told(command) == [(event, node, {"server": SERVER, "index": "7"})]


def test_what_did_not_go_well_is_told_with_its_reason() -> None:
    none = ServerUnplaceable(server_id=SERVER, fence=Fence(1), read_generation=1, message="no host")
    late = ServerExpire(server_id=SERVER, generation=1, reason="nobody came")
    for command, reason in ((none, "no host"), (late, "nobody came")):
        ((_, _, fields),) = told(command)
        assert fields["reason"] == reason
    ((_, _, fields),) = told(observed(SERVER, 1, fault_message="broke"))
    assert fields["reason"] == "broke"


def test_a_server_is_pinned_to_a_zone_or_to_none() -> None:
    about = {"server": SERVER, "index": "7"}
    assert told(ServerPin(server_id=SERVER, zone="west")) == [("server.pin", "me", {**about, "zone": "west"})]
    assert told(ServerPin(server_id=SERVER, zone=None)) == [("server.unpin", "me", about)]


def test_a_server_with_hints_is_made_like_any_other() -> None:
    plain = {"server_id": SERVER, "project_id": "p", "user_id": "u", "request_id": "q", "name": "web"}
    rest = {"hostname": "web", "flavor_id": "f", "image_id": "i", "deadline_ms": 1}
    hinted = ServerCreateHinted(**plain | rest, hints={"k": "v"})  # type: ignore[arg-type]
    assert told(hinted) == [("server.create", "me", {"server": SERVER, "index": "7"})]


def test_of_servers_that_are_made_together_each_is_told() -> None:
    plain = {"server_id": SERVER, "project_id": "p", "user_id": "u", "request_id": "q", "name": "web"}
    rest = {"hostname": "web", "flavor_id": "f", "image_id": "i", "deadline_ms": 1}
    other = Alike(server_id=ServerId("other"), name="web-2", hostname="web-2")
    both = ServerCreateAlike(**plain | rest, others=(other,))  # type: ignore[arg-type]
    assert told(both) == [
        ("server.create", "me", {"server": server, "index": "7"}) for server in (SERVER, "other")
    ]


def test_a_move_is_told_from_its_wish_to_its_end() -> None:
    about = {"server": SERVER, "index": "7"}
    plain: dict[str, object] = {"move_id": "m", "server_id": SERVER, "fence": Fence(1), "read_generation": 1}
    begun = MoveBegin(
        move_id="m",
        server_id=SERVER,
        kind="migration",
        source_host_id=NODE,
        user_id=UserId("u"),
        request_id=RequestId("q"),
        deadline_ms=1,
        arrive_ms=1,
    )
    of = {**about, "kind": "migration", "from": "h1"}
    assert told(begun) == [("server.move_begun", "me", of)]
    assert told(replace(begun, host_name="h2")) == [("server.move_begun", "me", {**of, "to": "h2"})]
    placed = MovePlace(**plain, host_id=HOST_B)  # type: ignore[arg-type]
    assert told(placed) == [("server.move_placed", HOST_B, about)]
    in_vain = MoveUnplaceable(**plain, message="no room")  # type: ignore[arg-type]
    assert told(in_vain) == [("server.move_unplaceable", "me", {**about, "reason": "no room"})]
    confirm = MoveConfirm(server_id=SERVER, request_id=RequestId("q"))
    assert told(confirm) == [("server.move_confirmed", "me", about)]
    revert = MoveRevert(server_id=SERVER, request_id=RequestId("q"), deadline_ms=1)
    assert told(revert) == [("server.move_reverted", "me", about)]
    wish = {"move_id": "m", "server_id": SERVER, "request_id": RequestId("q")}
    for kind, event in ((MoveAbort, "abort"), (MoveForce, "force")):
        assert told(kind(**wish)) == [(f"server.move_{event}", "me", about)]  # type: ignore[arg-type]


def test_what_comes_of_a_move_is_told_with_what_the_host_said() -> None:
    about = {"server": SERVER, "index": "7"}
    seen = ("server.observed", "h1", about)
    assert told(observed(SERVER, 1), hosts=[NODE]) == [seen]
    assert told(observed(SERVER, 1), move="arrived") == [seen, ("server.move_arrived", "h1", about)]
    failed = ("server.move_failed", "h1", {**about, "reason": "disk full"})
    assert told(observed(SERVER, 1), move="failed", why="disk full") == [seen, failed]
    expired = told(ServerExpire(server_id=SERVER, generation=1, reason="late"), move="failed", why="late")
    assert [event for event, _, _ in expired] == ["server.expired", "server.move_failed"]


def test_what_has_no_story_is_not_told() -> None:
    assert told(VoterWish(node_id=NODE, wish="wanted")) == []

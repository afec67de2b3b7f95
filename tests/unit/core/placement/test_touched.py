"""Which commands touch which hosts: of every kind it is said on purpose."""

from __future__ import annotations

import pytest

from fabric.core.placement.touched import ALL, NOTHING, Touched, is_known, touched
from fabric.core.queries import Applied, AppliedEntry
from proto.commands import Command, all_commands
from proto.commands.aggregates import (
    AggregateAddHost,
    AggregateCreate,
    AggregateDelete,
    AggregateRemoveHost,
    AggregateSetMetadata,
    AggregateUpdate,
)
from proto.commands.catalog import ImageActivate, ImageDelete
from proto.commands.log import LevelRaise
from proto.commands.moves import (
    MoveAbort,
    MoveArrived,
    MoveBegin,
    MoveConfirm,
    MovePlace,
    MoveRevert,
    MoveUnplaceable,
)
from proto.commands.nodes import HostRegister, HostUpdate, NodeRemove, NodeRename
from proto.commands.providers import HostOffers
from proto.commands.servers import ServerAct, ServerExpire, ServerObserved, ServerPlace, ServerRemoved
from proto.commands.shelving import ServerShelve, ServerShelved
from proto.ids import Fence, ImageId, LogIndex, NodeId, RequestId, ServerId, UserId

H, S = NodeId("h" * 32), ServerId("s")
# What they write is a fact of a host: its row, its offer, what servers claim on it, images, aggregates.
TOUCHING = {
    ServerPlace, ServerObserved, ServerRemoved, ServerAct, ServerExpire, HostRegister, HostUpdate, NodeRemove,
    NodeRename, HostOffers, ImageActivate, ImageDelete, AggregateCreate, AggregateDelete, AggregateAddHost,
    AggregateRemoveHost, AggregateUpdate, AggregateSetMetadata, LevelRaise,
    MoveBegin, MovePlace, MoveUnplaceable, MoveConfirm, MoveRevert, MoveArrived, MoveAbort,
    ServerShelve, ServerShelved,
}  # fmt: skip


def told(command: Command, **result: object) -> Touched:
    return touched(AppliedEntry(LogIndex(1), command, Applied(LogIndex(1), result)))


@pytest.mark.parametrize("kind", all_commands().values(), ids=lambda kind: kind.KIND)
def test_every_kind_is_known_and_touches_only_what_is_said_here(kind: type[Command]) -> None:
    assert is_known(kind), "say in touched.py what it changes; until then all hosts are read after each"
    if kind not in TOUCHING:
        blank = object.__new__(kind)  # nobody looks into it
        assert told(blank) is NOTHING


def test_a_kind_that_nobody_thought_of_may_have_changed_all() -> None:
    class Unheard(Command):
        KIND = "unheard.of"

    assert told(Unheard()) is ALL


@pytest.mark.parametrize(
    "command",
    [
        ServerPlace(server_id=S, host_id=H, fence=Fence(1), read_generation=1),
        ServerObserved(server_id=S, host_id=H, generation=1, power_state="running"),
        ServerRemoved(server_id=S, host_id=H),
        HostUpdate(host_id=H),
        HostOffers(host_id=H),
    ],
    ids=lambda command: command.KIND,
)
def test_who_names_a_host_touches_it(command: Command) -> None:
    assert told(command) == Touched(host_id=H)


def test_an_action_touches_the_host_that_its_result_names() -> None:
    act = ServerAct(server_id=S, verb="delete", request_id=RequestId("r"), deadline_ms=1)
    late = ServerExpire(server_id=S, generation=1, reason="late")
    assert told(act, host_id=H) == told(late, host_id=H) == Touched(host_id=H)
    assert told(act, host_id=None) is told(late, host_id=None) is NOTHING
    assert told(act) is ALL  # a result that does not say


def test_shelving_touches_the_host_and_later_who_held_the_image() -> None:
    shelve = ServerShelve(
        server_id=S, image_id=ImageId("i"), user_id=UserId("u"), request_id=RequestId("r"), deadline_ms=1
    )
    assert told(shelve, hosts=[H]) == Touched(others=(H,))
    sums = {"md5": "5", "sha256": "2", "sha512": "1"}
    saved = ServerShelved(server_id=S, host_id=H, generation=1, size_bytes=1, virtual_bytes=1, **sums)
    assert told(saved, image_id="i") == Touched(host_id=H)


def test_a_move_touches_both_its_ends() -> None:
    other = NodeId("o" * 32)
    confirmed = MoveConfirm(server_id=S, request_id=RequestId("r"))
    assert told(confirmed, hosts=[H, other]) == Touched(others=(H, other))
    assert told(confirmed) is ALL  # a result that does not say
    arrived = ServerObserved(server_id=S, host_id=H, generation=1, power_state="running")
    assert told(arrived, hosts=[other]) == Touched(host_id=H, others=(other,))
    act = ServerAct(server_id=S, verb="delete", request_id=RequestId("r"), deadline_ms=1)
    assert told(act, host_id=H, hosts=[other]) == Touched(host_id=H, others=(other,))


def test_a_zone_is_of_the_aggregate_and_of_its_hosts() -> None:
    assert told(AggregateAddHost(aggregate_id=1, host_id=H)) == Touched(host_id=H, are_aggregates=True)
    assert told(AggregateUpdate(aggregate_id=1, availability_zone="z")) is ALL
    assert told(AggregateDelete(aggregate_id=1)) == Touched(are_aggregates=True)


def test_a_removed_node_leaves_its_aggregates() -> None:
    assert told(NodeRemove(node_id=H)) == Touched(host_id=H, are_aggregates=True)


def test_a_deleted_image_is_held_by_nobody() -> None:
    assert told(ImageDelete(image_id=ImageId("i"))) == Touched(holders_of=ImageId("i"))

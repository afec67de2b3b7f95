"""What an operator asks of an agent about nodes: what a rotation of the conductor's keys costs, and who is
missing when nobody conducts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from fabric.agent_nodes import AgentNodes
from fabric.core.membership.model import Load, Member, MemberState
from fabric.core.nodes.model import JoinToken, Node
from fabric.errors import NoQuorumError
from fabric.runtime.hard_state import HardState
from fabric.runtime.node_admin import NodeAdmin
from fabric.runtime.node_identity import IdentityError
from fabric.runtime.rotation import Rotation
from proto.ids import TokenId
from tests.fixtures.compute_doubles import StateDouble
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks, member_named


class Admin:
    def __init__(self, *rows: JoinToken) -> None:
        self.rows = rows

    async def tokens(self) -> tuple[JoinToken, ...]:
        return self.rows


class Rotated:
    is_done = False

    async def rotate(self) -> None:
        self.is_done = True


def desk(admin: Admin | None, rotation: Rotated) -> AgentNodes:
    return AgentNodes(
        MeshDouble([ME]),
        CLOCK,
        admin=lambda: cast(NodeAdmin | None, admin),
        state=lambda: None,
        rotation=lambda: cast(Rotation, rotation),
    )


def row(token_id: str, **changes: Any) -> JoinToken:
    fields: dict[str, Any] = {
        "token_id": TokenId(token_id),
        "secret_hash": b"h",
        "expires_ms": CLOCK.wall_ms() + 60_000,
        "uses_left": 1,
        "door_public": ME.record.curve_public,
    }
    return JoinToken(**fields | changes)


ME, CLOCK = member_named("me"), TwoClocks()


async def test_a_rotation_of_the_conductor_tells_how_many_tokens_it_kills() -> None:
    rotation = Rotated()
    admin = Admin(row("a"), row("b"), row("c", uses_left=0), row("d", door_public=b"older" * 6 + b"00"))
    assert await desk(admin, rotation).rotate_key() == {
        "id": ME.record.node_id,
        "name": "me",
        "tokens_dead": 2,
    }
    assert rotation.is_done


async def test_another_nodes_rotation_kills_none() -> None:
    assert (await desk(None, Rotated()).rotate_key())["tokens_dead"] == 0


async def test_tokens_of_an_older_door_key_are_marked() -> None:
    admin = Admin(row("a"), row("b", door_public=b"older" * 6 + b"00"))
    found = await desk(admin, Rotated()).tokens()
    assert [(token["id"], token["status"]) for token in found] == [("a", "usable"), ("b", "old_door_key")]
    with pytest.raises(IdentityError):
        await desk(None, Rotated()).tokens()


def host_desk(state: StateDouble, chief: Member) -> AgentNodes:
    """On a node that does not conduct."""
    return AgentNodes(
        MeshDouble([ME, chief]),
        CLOCK,
        admin=lambda: None,
        state=lambda: cast(HardState, state),
        rotation=lambda: None,
    )


async def test_without_a_conductor_a_drain_is_refused_at_once_and_says_who_is_missing() -> None:
    state = StateDouble()
    gone = host_desk(state, member_named("h1", ("conductor", 3), state=MemberState.HOST_DOWN))
    with pytest.raises(NoQuorumError, match=r"h1 conducts .* is host_down; .*; nothing was done"):
        await gone.drain("me", "disk")
    with pytest.raises(IdentityError, match=r"draining is ended on the conductor: h1 .* nothing was done"):
        await gone.undrain("me")
    assert state.commands == []


async def test_a_conductor_that_goes_while_it_is_asked_is_named_too() -> None:
    state = StateDouble(is_away=True)
    with pytest.raises(NoQuorumError, match="no conductor; nothing was done"):
        await host_desk(state, member_named("h1", ("conductor", 3))).drain("me", "disk")


class Drains:
    """An admin whose word each node obeys when the test says so."""

    def __init__(self, view: MeshDouble, *, is_obeyed: bool) -> None:
        self._view = view
        self._is_obeyed = is_obeyed

    async def drain(self, text: str, reason: str) -> Node:
        return self._set(text, is_draining=True)

    async def undrain(self, text: str) -> tuple[Node, bool]:
        return self._set(text, is_draining=False), True

    def _set(self, text: str, *, is_draining: bool) -> Node:
        (row,) = (row for row in self._view.rows if row.record.name == text)
        if self._is_obeyed:
            self._view.rows.remove(row)
            self._view.rows.append(replace(row, load=Load(is_draining=is_draining)))
        return cast(Node, row.record)  # it has a name and an id, and no more is asked


class Rushing(TwoClocks):
    """A second passes whenever it is looked at."""

    def monotonic_ms(self) -> int:
        self.now_ms += 1_000
        return self.now_ms


@pytest.mark.parametrize(
    ("state", "is_obeyed", "is_seen"),
    [
        (MemberState.ALIVE, True, True),
        (MemberState.ALIVE, False, False),
        (MemberState.HOST_DOWN, False, False),
    ],
)
async def test_a_drain_is_over_when_the_node_says_so_itself(
    state: MemberState, is_obeyed: bool, is_seen: bool
) -> None:
    view = MeshDouble([ME, member_named("h3", state=state)])
    admin = cast(NodeAdmin, Drains(view, is_obeyed=is_obeyed))
    nodes = AgentNodes(view, Rushing(), admin=lambda: admin, state=lambda: None, rotation=lambda: None)
    assert (await nodes.drain("h3", "disk"))["seen"] is is_seen
    if is_obeyed:
        assert await nodes.undrain("h3") == {
            "id": view.rows[1].record.node_id,
            "name": "h3",
            "was_draining": True,
            "seen": True,
        }

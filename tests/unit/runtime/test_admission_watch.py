"""A node that no member lets in says so, asks at a door, and ends for nothing but the root's word."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from fabric.core.membership.model import Member, MemberState
from fabric.mesh.contract import LinkFact
from fabric.mesh.curve import CurveKeyPair, new_curve_key_pair
from fabric.runtime import admission_watch
from fabric.runtime.admission_watch import ALONE_MS, DOOR_LABEL, AdmissionWatch
from fabric.runtime.door_knock import NoAnswer
from fabric.runtime.events import EventLog
from proto.errors import Outcome
from proto.join import JoinRefusal, StandingReply, StandingRequest, decode_request, encode_reply
from proto.membership import Removal
from tests.fixtures.mesh_view_double import MeshDouble, TwoClocks, link_to, member_named

REMOVAL = Removal(body=b"removal", signature=b"s" * 64)
ME = member_named("me")
DOOR = "tcp://127.0.0.1:7401"


def conductor() -> Member:
    member = member_named("h1", state=MemberState.SUSPECT)
    return replace(member, record=replace(member.record, labels={DOOR_LABEL: DOOR}))


@dataclass
class World:
    """What the others answer, by endpoint."""

    clock: TwoClocks = field(default_factory=TwoClocks)
    view: MeshDouble = field(default_factory=lambda: MeshDouble([ME, member_named("h2"), conductor()]))
    ports: dict[str, LinkFact] = field(default_factory=dict)  # UP where nothing is said
    keys: dict[str, bool | None] = field(default_factory=dict)  # False: refused, where nothing is said
    answer: bytes | NoAnswer = NoAnswer.UNREACHED
    asked: list[tuple[str, bytes]] = field(default_factory=list)
    removed: list[Removal] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.log = EventLog(self.clock)
        self.watch = AdmissionWatch(
            self.view,
            new_curve_key_pair(),
            self.log,
            self.clock,
            name="me",
            remove=self.removed.append,
        )

    async def probe(self, endpoint: str) -> LinkFact:
        return self.ports.get(endpoint, LinkFact.UP)

    async def handshake(self, endpoint: str, keys: CurveKeyPair, server_public: bytes) -> bool | None:
        return self.keys.get(endpoint, False)

    async def knock(
        self, address: str, keys: CurveKeyPair, door_public: bytes, frame: bytes
    ) -> bytes | NoAnswer:
        request = decode_request(frame)
        assert isinstance(request, StandingRequest)
        assert request.node_id == self.view.me
        self.asked.append((address, door_public))
        return self.answer

    async def looks_for(self, span_ms: int = ALONE_MS) -> list[str]:
        """Events after two looks so far apart."""
        await self.watch.look()
        self.clock.now_ms += span_ms
        await self.watch.look()
        return [event.event for event in self.log.recent()]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World()
    for name in ("probe", "handshake", "knock"):
        monkeypatch.setattr(admission_watch, name, getattr(made, name))
    return made


async def test_let_in_nowhere_is_told_once_and_ended_by_nobodys_word(world: World) -> None:
    world.answer = encode_reply(StandingReply(is_member=False))
    assert await world.looks_for() == ["node.not_admitted"]
    (event,) = world.log.recent()
    assert event.fields["reason"] == world.watch.note
    assert "2 members answer and none admits this node's key" in world.watch.note
    assert world.removed == []
    assert await world.looks_for() == ["node.not_admitted"]  # still one


async def test_a_little_while_is_no_story(world: World) -> None:
    assert await world.looks_for(ALONE_MS - 1) == []
    assert world.watch.note == ""


async def test_the_roots_word_is_taken_from_the_door_at_the_first_look(world: World) -> None:
    world.answer = encode_reply(StandingReply(is_member=False, removals=(REMOVAL,)))
    await world.watch.look()
    assert world.asked == [(DOOR, conductor().record.curve_public)]
    assert world.removed == [REMOVAL]


@pytest.mark.parametrize(
    "answer",
    [
        NoAnswer.OTHER_KEY,
        b"\xc1",
        encode_reply(JoinRefusal(code="c", message="no", outcome=Outcome.NOT_DONE)),
    ],
)
async def test_a_door_that_is_of_no_help(world: World, answer: bytes | NoAnswer) -> None:
    world.answer = answer
    assert await world.looks_for() == ["node.not_admitted"]
    assert world.removed == []


async def test_a_link_or_one_member_that_lets_us_in_ends_it(world: World) -> None:
    await world.looks_for()
    world.keys[member_named("h2").record.endpoint] = True
    await world.watch.look()
    assert world.watch.note == ""
    world.keys.clear()
    await world.looks_for()
    world.view.linked = [link_to("h2")]
    await world.watch.look()
    assert world.watch.note == ""


async def test_silence_and_closed_ports_say_nothing_of_our_key(world: World) -> None:
    h1, h2 = conductor().record.endpoint, member_named("h2").record.endpoint
    world.ports[h1], world.keys[h2] = LinkFact.REFUSED, None  # h2 is stopped: its machine accepts alone
    assert await world.looks_for() == []
    assert world.asked == []


async def test_who_is_alone_in_the_fabric_is_not_missed(world: World) -> None:
    world.view.rows = [ME, member_named("new", epoch=0), member_named("gone", state=MemberState.LEFT)]
    assert await world.looks_for() == []

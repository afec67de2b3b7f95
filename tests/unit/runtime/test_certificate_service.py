"""Newer certificates: who gets one, over which keys, and who does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.core.membership.record import body_of, read_state, sign_record
from fabric.errors import Outcome, RemoteError
from fabric.runtime.authority import CERTIFICATE_LIFE_MS, DAY_MS, create_authority, read_own
from fabric.runtime.certificate_request import CertificateRefusedError
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import NodeIdentity, identity_of, new_keys
from fabric.runtime.renaming import Renaming
from proto.certificate import certificate_request_body
from proto.codec import Plain
from proto.commands.nodes import NodeRemove, NodeRename
from proto.ids import NodeId
from proto.membership import NodeState
from tests.unit.runtime.node_keys_world import CONDUCTOR, FABRIC, KeysWorld, OneWayRpc, a_request


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KeysWorld]:
    made = KeysWorld(tmp_path)
    await made.open()
    yield made
    await made.close()


def asking(world: KeysWorld, wanted: NodeIdentity, **changes: Plain) -> dict[str, Plain]:
    asked = certificate_request_body(
        fabric_id=FABRIC,
        node_id=world.node_id,
        curve_public=wanted.curve_public,
        sign_public=wanted.sign_public,
    )
    body: dict[str, Plain] = {
        "curve_public": wanted.curve_public,
        "sign_public": wanted.sign_public,
        "signature": world.identity.sign(asked),
        "proof": wanted.sign(asked),
    }
    return body | changes


async def refused(world: KeysWorld, method: str, body: dict[str, Plain], words: str) -> None:
    index = world.state.applied_index
    with pytest.raises(RemoteError, match=words) as caught:
        await world.rpc.call(CONDUCTOR, method, body, timeout_ms=1)
    assert caught.value.outcome is Outcome.NOT_DONE
    assert world.state.applied_index == index


async def test_a_fresh_certificate_is_given_again_and_costs_no_log(world: KeysWorld) -> None:
    index = world.state.applied_index
    for _ in range(5):
        signed = await world.issuer.certify(world.member, world.identity, world.identity)
        assert signed == world.member.certificate
    assert world.state.applied_index == index


async def test_an_older_one_is_renewed_once_however_often_it_is_asked(world: KeysWorld) -> None:
    world.clock.advance(CERTIFICATE_LIFE_MS * 2 // 3)
    first = await world.issuer.certify(world.member, world.identity, world.identity)
    again = await world.issuer.certify(world.member, world.identity, world.identity)  # the answer was lost
    assert first == again == (await world.row()).certificate
    renewed, before = read_own(first), read_own(world.member.certificate)
    assert (renewed.generation, renewed.name, renewed.roles) == (2, before.name, before.roles)
    assert renewed.not_after_ms == world.clock.now_ms + 90 * DAY_MS
    assert (renewed.curve_public, renewed.sign_public) == (before.curve_public, before.sign_public)


async def test_a_member_whose_certificate_has_expired_may_still_renew_it(world: KeysWorld) -> None:
    """Its link proves the key, and the log says it is a member; the node was only cut off for long."""
    world.clock.advance(CERTIFICATE_LIFE_MS + DAY_MS)
    signed = await world.issuer.certify(world.member, world.identity, world.identity)
    assert read_own(signed).generation == 2


async def test_a_node_that_is_no_member_gets_nothing(world: KeysWorld) -> None:
    world.clock.advance(CERTIFICATE_LIFE_MS * 2 // 3)
    await world.state.propose(NodeRemove(node_id=world.node_id), request_id=a_request())
    await refused(world, "node.renew", asking(world, world.identity), "not a member")
    body: dict[str, Plain] = {"certificate": b"c", "body": b"b", "signature": b"s" * 64}
    await refused(world, "node.rotate", body, "not a member")


async def test_only_the_holder_of_the_old_key_and_the_new_one_may_ask(
    world: KeysWorld, tmp_path: Path
) -> None:
    thief, fresh = identity_of(new_keys()), identity_of(new_keys(world.node_id))
    good = asking(world, fresh)
    signed_by_thief = thief.sign(
        certificate_request_body(
            fabric_id=FABRIC,
            node_id=world.node_id,
            curve_public=fresh.curve_public,
            sign_public=fresh.sign_public,
        )
    )
    await refused(world, "node.renew", good | {"signature": signed_by_thief}, "the key this node has now")
    await refused(world, "node.renew", good | {"proof": signed_by_thief}, "the key it asks for")
    for name in ("curve_public", "sign_public", "signature", "proof"):
        for value in (None, b"", b"short", 5, "text"):
            await refused(world, "node.renew", good | {name: value}, "bad_|unpackable")
    # another member sends the captured request over its own link
    other = OneWayRpc(NodeId("d" * 32))
    other.handlers = world.rpc.handlers
    with pytest.raises(RemoteError, match="not a member"):
        await other.call(CONDUCTOR, "node.renew", good, timeout_ms=1)


async def test_new_keys_are_certified_first_and_in_force_later(world: KeysWorld) -> None:
    fresh = identity_of(new_keys(world.node_id))
    signed = await world.issuer.certify(world.member, world.identity, fresh)
    assert (await world.row()).certificate == world.member.certificate  # nothing is in force yet
    assert world.rotated == []
    certificate = read_own(signed)
    assert (certificate.node_id, certificate.generation) == (world.node_id, 2)
    body = first_word(world, fresh, signed)
    for _ in range(2):  # a lost answer, asked again
        await world.rpc.call(CONDUCTOR, "node.rotate", body, timeout_ms=1)
    row = await world.row()
    assert (row.certificate, row.curve_public, row.generation) == (signed, fresh.curve_public, 2)
    assert (row.body, row.signature) == (body["body"], body["signature"])
    assert world.last_word().curve_public == fresh.curve_public


def first_word(world: KeysWorld, keys: NodeIdentity, signed: bytes) -> dict[str, Plain]:
    record = replace(world.record, curve_public=keys.curve_public, certificate=signed, version=9)
    state = sign_record(record, keys.sign).state
    return {"certificate": state.certificate, "body": state.body, "signature": state.signature}


async def test_a_rotation_that_does_not_hold_changes_nothing(world: KeysWorld, tmp_path: Path) -> None:
    fresh, thief = identity_of(new_keys(world.node_id)), identity_of(new_keys(world.node_id))
    signed = await world.issuer.certify(world.member, world.identity, fresh)
    await refused(world, "node.rotate", first_word(world, thief, signed), "wrong_owner")
    good = first_word(world, fresh, signed)
    await refused(world, "node.rotate", good | {"signature": thief.sign(b"x")}, "bad_signature")
    own_root = tmp_path / "own-root"
    own_root.mkdir()
    forged = create_authority(own_root, FABRIC)
    certificate = forged.issue(
        curve_public=thief.curve_public,
        sign_public=thief.sign_public,
        name="h2",
        now_ms=world.clock.now_ms,
        node_id=world.node_id,
        generation=9,
    )
    await refused(world, "node.rotate", first_word(world, thief, certificate), "bad_certificate")


async def test_of_two_rotations_the_later_one_is_stale(world: KeysWorld) -> None:
    one, two = identity_of(new_keys(world.node_id)), identity_of(new_keys(world.node_id))
    first = await world.issuer.certify(world.member, world.identity, one)
    second = await world.issuer.certify(world.member, world.identity, two)
    await world.rpc.call(CONDUCTOR, "node.rotate", first_word(world, one, first), timeout_ms=1)
    with pytest.raises(RemoteError, match="newer certificate"):
        await world.rpc.call(CONDUCTOR, "node.rotate", first_word(world, two, second), timeout_ms=1)
    assert (await world.row()).curve_public == one.curve_public


async def test_an_answer_over_other_keys_is_not_taken(world: KeysWorld) -> None:
    async def wrong(peer: NodeId, body: object) -> Plain:
        return {"certificate": world.member.certificate}

    world.rpc.handlers["node.renew"] = wrong
    with pytest.raises(CertificateRefusedError, match="other keys"):
        await world.issuer.certify(world.member, world.identity, identity_of(new_keys(world.node_id)))
    answers: list[Plain] = [{}, {"certificate": b"junk"}, {"certificate": 5}, None]
    for answer in answers:

        async def junk(peer: NodeId, body: object, answer: Plain = answer) -> Plain:
            return answer

        world.rpc.handlers["node.renew"] = junk
        with pytest.raises(CertificateRefusedError):
            await world.issuer.certify(world.member, world.identity, world.identity)


def renaming(world: KeysWorld, wanted: str, told: list[bytes], events: EventLog) -> Renaming:
    return Renaming(
        world.directory,
        world.identity,
        world.issuer,
        events,
        member=lambda: world.member,
        record=lambda: world.record,
        wanted=wanted,
        renamed=told.append,
    )


async def raised(world: KeysWorld, level: int) -> None:
    while world.state.level < level:
        await world.state.raise_level(world.state.level + 1)


async def test_a_new_name_comes_with_a_certificate_and_is_in_force_at_once(world: KeysWorld) -> None:
    await raised(world, NodeRename.LEVEL)
    ask = renaming(world, "h2new", [], EventLog(world.clock)).ask
    signed = await ask()
    certificate, row = read_own(signed), await world.row()
    assert (certificate.name, certificate.generation, certificate.node_id) == ("h2new", 2, world.node_id)
    assert (row.name, row.certificate) == ("h2new", signed)
    assert await ask() == signed  # the answer was lost
    said = NodeState(certificate=signed, body=row.body, signature=row.signature)
    record = read_state(said).record
    assert world.trust_of(world.identity).doubt(said, record) is None  # what `readmit` tells the mesh
    assert record.name == "h2new"
    assert read_own(await world.issuer.certify(world.member, world.identity, world.identity)).name == "h2new"


async def test_nobody_renames_another_and_no_name_that_cannot_be(world: KeysWorld) -> None:
    await raised(world, NodeRename.LEVEL)
    thief = identity_of(new_keys())
    said = body_of(replace(world.record, name="stolen"))
    await refused(world, "node.rename", {"body": said, "signature": thief.sign(said)}, "bad_signature")
    with pytest.raises(RemoteError, match="name must have 1 to 63"):
        await renaming(world, "not a name", [], EventLog(world.clock)).ask()
    other = OneWayRpc(NodeId("d" * 32))
    other.handlers = world.rpc.handlers
    good: dict[str, Plain] = {"body": said, "signature": world.identity.sign(said)}
    with pytest.raises(RemoteError, match="not a member"):
        await other.call(CONDUCTOR, "node.rename", good, timeout_ms=1)


async def test_a_new_name_waits_and_says_why(world: KeysWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below level 3, say: once a reason, until it may be."""
    monkeypatch.setattr("fabric.runtime.renaming.RETRY_S_FIRST", 0.01)
    monkeypatch.setattr("fabric.runtime.renaming.RETRY_S_MAX", 0.01)
    told: list[bytes] = []
    events = EventLog(world.clock)
    refusals, answered = 0, asyncio.Event()

    def count(method: str) -> None:
        nonlocal refusals
        refusals += 1
        if refusals > 3:
            answered.set()

    world.rpc.before = count
    task = asyncio.create_task(renaming(world, "h2new", told, events).run())
    await asyncio.wait_for(answered.wait(), 30)
    assert told == []
    assert (await world.row()).name == "h2"
    (event,) = events.recent()
    assert (event.event, event.node, event.fields["wanted"]) == ("node.rename_waits", "h2", "h2new")
    await raised(world, NodeRename.LEVEL)
    while not told:
        await asyncio.sleep(0.01)
    assert read_own(told[0]).name == "h2new"
    assert len(told) == 1
    task.cancel()

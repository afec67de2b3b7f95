"""How a node becomes a voter: who may choose it, with which certificate, and what it is never talked into."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fabric.errors import CommandRejectedError, Outcome, RemoteError
from fabric.runtime.authority import FOUNDER_ROLES, HOST_ROLES, Authority, create_authority, read_own
from fabric.runtime.invitation import INVITE, InvitationService, Inviter, NotInvitedError
from fabric.runtime.node_identity import Membership, NodeIdentity, identity_of, new_keys
from proto.codec import Plain
from proto.ids import FabricId, NodeId, VoterId, voter_of
from tests.unit.runtime.node_keys_world import CONDUCTOR, FABRIC, KeysWorld, OneWayRpc


@dataclass
class Invited:
    """The member at its end: what it was given, and what it answers."""

    keys: KeysWorld
    voter: VoterId
    member: Membership
    accepted: list[tuple[Membership, bytes]] = field(default_factory=list)
    dismissed: list[VoterId] = field(default_factory=list)
    incarnations: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rpc = OneWayRpc(CONDUCTOR)
        InvitationService(
            self.rpc,
            self.keys.identity,
            self.keys.clock,
            member=lambda: self.member,
            may_invite=lambda node_id: node_id == CONDUCTOR,
            accept=self._accept,
            dismiss=self._dismiss,
        )
        self.inviter = Inviter(self.keys.state, self.keys.authority, self.rpc, self.keys.clock, incarnation=3)

    async def _accept(self, member: Membership, root_key: bytes, incarnation: int) -> VoterId:
        self.incarnations.append(incarnation)
        self.accepted.append((member, root_key))
        self.member = member
        return self.voter

    async def _dismiss(self, voter: VoterId) -> None:
        self.dismissed.append(voter)

    def certificate(self, **changes: Any) -> bytes:
        """As the conductor issues one, but for `changes`."""
        keys: NodeIdentity = changes.pop("keys", self.keys.identity)
        authority: Authority = changes.pop("authority", self.keys.authority)
        fields: dict[str, Any] = {
            "curve_public": keys.curve_public,
            "sign_public": keys.sign_public,
            "name": "h2",
            "now_ms": self.keys.clock.wall_ms(),
            "roles": FOUNDER_ROLES,
            "node_id": self.keys.node_id,
            "generation": 2,
        }
        return authority.issue(**fields | changes)

    def invitation(self, **changes: Plain) -> dict[str, Plain]:
        body: dict[str, Plain] = {
            "certificate": self.certificate(),
            "root_key": self.keys.authority.private_bytes(),
            "incarnation": 3,
        }
        return body | changes

    async def refuses(self, words: str, **changes: Plain) -> None:
        with pytest.raises(RemoteError, match=words) as caught:
            await self.rpc.call(self.keys.node_id, INVITE, self.invitation(**changes), timeout_ms=1)
        assert caught.value.outcome is Outcome.NOT_DONE
        assert self.accepted == []


@pytest.fixture
async def invited(tmp_path: Path) -> AsyncIterator[Invited]:
    keys = KeysWorld(tmp_path)
    await keys.open()
    yield Invited(keys, voter_of(keys.node_id, "00000001"), keys.member)
    await keys.close()


def foreign_root(tmp_path: Path, fabric_id: FabricId = FABRIC) -> Authority:
    directory = tmp_path / "foreign"
    directory.mkdir()
    return create_authority(directory, fabric_id)


async def test_the_chosen_node_gets_what_a_conductor_needs(invited: Invited) -> None:
    assert await invited.inviter.invite(invited.keys.node_id) == invited.voter
    ((member, root_key),) = invited.accepted
    assert invited.incarnations == [3], "it is told which life of the group it enters"
    certificate = read_own(member.certificate)
    assert certificate.roles == FOUNDER_ROLES
    assert (certificate.generation, certificate.name) == (2, "h2")
    assert certificate.curve_public == invited.keys.identity.curve_public
    assert certificate.sign_public == invited.keys.identity.sign_public
    assert Authority.of(root_key, FABRIC).root_public == invited.keys.authority.root_public
    row = await invited.keys.row()
    assert (row.certificate, row.generation) == (member.certificate, 2)
    assert member.root_public == invited.keys.member.root_public


async def test_invited_twice_it_gets_the_same_and_the_log_nothing(invited: Invited) -> None:
    await invited.inviter.invite(invited.keys.node_id)
    index = invited.keys.state.applied_index
    await invited.inviter.invite(invited.keys.node_id)  # the answer was lost
    assert invited.keys.state.applied_index == index
    assert invited.accepted[0] == invited.accepted[1]


async def test_who_was_certified_and_never_heard_gets_that_certificate(invited: Invited) -> None:
    def lost(method: str) -> None:
        raise RemoteError("fabric.mesh.unreachable", "no link", Outcome.NOT_DONE)

    invited.rpc.before = lost
    with pytest.raises(RemoteError):
        await invited.inviter.invite(invited.keys.node_id)
    assert invited.accepted == []
    invited.rpc.before = lambda method: None
    await invited.inviter.invite(invited.keys.node_id)
    assert (await invited.keys.row()).generation == 2


async def test_who_is_let_go_may_only_carry_guests_until_it_is_invited_again(invited: Invited) -> None:
    node_id = invited.keys.node_id
    await invited.inviter.demote(node_id)  # nothing to take
    assert (await invited.keys.row()).generation == 1
    await invited.inviter.invite(node_id)
    for _ in range(2):
        await invited.inviter.demote(node_id)
        row = await invited.keys.row()
        assert (read_own(row.certificate).roles, row.generation) == (HOST_ROLES, 3)
    await invited.inviter.invite(node_id)
    row = await invited.keys.row()
    assert (read_own(row.certificate).roles, row.generation) == (FOUNDER_ROLES, 4)


async def test_nobody_invites_who_is_no_member(invited: Invited) -> None:
    with pytest.raises(CommandRejectedError, match="not a member"):
        await invited.inviter.invite(NodeId("d" * 32))


async def test_an_answer_with_another_nodes_voter_is_not_taken(invited: Invited) -> None:
    invited.voter = voter_of(NodeId("d" * 32), "00000001")
    with pytest.raises(NotInvitedError):
        await invited.inviter.invite(invited.keys.node_id)
    answers: list[Plain] = [None, {}, {"voter_id": 5}, {"voter_id": ""}]
    for answer in answers:

        async def junk(peer: NodeId, body: object, answer: Plain = answer) -> Plain:
            return answer

        invited.rpc.handlers[INVITE] = junk
        with pytest.raises(NotInvitedError):
            await invited.inviter.invite(invited.keys.node_id)


async def test_only_the_conductor_chooses_and_dismisses(invited: Invited) -> None:
    invited.rpc.peer = NodeId("d" * 32)
    await invited.refuses("Only the conductor")
    with pytest.raises(RemoteError, match="Only the conductor"):
        await invited.inviter.dismiss(invited.voter)
    assert invited.dismissed == []


async def test_a_dismissal_names_the_voter(invited: Invited) -> None:
    await invited.inviter.dismiss(invited.voter)
    assert invited.dismissed == [invited.voter]
    with pytest.raises(RemoteError, match="voter_id"):
        await invited.rpc.call(invited.keys.node_id, "log.dismiss", {"voter_id": 5}, timeout_ms=1)


async def test_a_certificate_for_others_is_refused(invited: Invited) -> None:
    thief = identity_of(new_keys())
    await invited.refuses("wrong_owner", certificate=invited.certificate(node_id=thief.node_id))
    await invited.refuses("wrong_owner", certificate=invited.certificate(keys=thief))
    other_signing = invited.certificate(sign_public=thief.sign_public)
    await invited.refuses("wrong_owner", certificate=other_signing)


async def test_a_certificate_older_than_its_own_is_refused(invited: Invited) -> None:
    newer = invited.certificate(generation=5)
    invited.member = Membership(FABRIC, invited.member.root_public, newer)
    await invited.refuses("newer", certificate=invited.certificate(generation=4))


async def test_a_certificate_that_does_not_let_it_conduct_is_refused(invited: Invited) -> None:
    for missing in ("conductor", "scheduler", "api"):
        roles = tuple(role for role in FOUNDER_ROLES if role != missing)
        await invited.refuses("does not let", certificate=invited.certificate(roles=roles))


async def test_a_certificate_of_another_root_is_refused(invited: Invited, tmp_path: Path) -> None:
    foreign = foreign_root(tmp_path)
    await invited.refuses("bad_certificate|bad_signature", certificate=invited.certificate(authority=foreign))


async def test_an_expired_certificate_is_refused(invited: Invited) -> None:
    certificate = invited.certificate(now_ms=1_000)
    await invited.refuses("expired|certificate", certificate=certificate)


async def test_another_root_key_is_refused(invited: Invited, tmp_path: Path) -> None:
    await invited.refuses("not this fabric's", root_key=foreign_root(tmp_path).private_bytes())


async def test_what_is_no_invitation_is_refused(invited: Invited) -> None:
    for wrong in (None, 5, "text"):
        await invited.refuses("must be bytes", certificate=wrong)
        await invited.refuses("must be bytes", root_key=wrong)
    for wrong_life in (None, 0, -1, True, "3", 1 << 63):
        await invited.refuses("incarnation", incarnation=wrong_life)
    for junk in (b"", b"junk", b"\x00" * 32):
        await invited.refuses(".", certificate=junk)
    for junk in (b"", b"short", b"\x00" * 33):
        await invited.refuses(".", root_key=junk)

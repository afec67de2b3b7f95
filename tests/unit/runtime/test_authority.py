"""Certificates: what the root signed passes, everything else is refused for its own reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fabric.core.membership.model import NodeRecord, RoleClaim
from fabric.core.membership.record import read_state, sign_record
from fabric.runtime.authority import (
    CERTIFICATE_LIFE_MS,
    CLOCK_SKEW_MS,
    DAY_MS,
    FOUNDER_ROLES,
    Authority,
    NodeTrust,
    check_admission,
    create_authority,
    load_authority,
    read_certificate,
)
from fabric.runtime.node_identity import (
    IdentityError,
    Membership,
    NodeIdentity,
    identity_of,
    load_or_create,
    new_keys,
)
from proto.certificate import SignedCertificate, decode_signed, encode_signed
from proto.errors import WireError
from proto.ids import Epoch, FabricId, NodeId
from proto.membership import Removal

FABRIC = FabricId("fabric-a")
NOW_MS = 1_800_000_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return create_authority(tmp_path, FABRIC)


@pytest.fixture
def node(tmp_path: Path) -> NodeIdentity:
    return load_or_create(tmp_path)


def issue(authority: Authority, node: NodeIdentity, name: str = "n1") -> bytes:
    return authority.issue(
        curve_public=node.curve_public, sign_public=node.sign_public, name=name, now_ms=NOW_MS
    )


def record_of(node: NodeIdentity, certificate: bytes) -> NodeRecord:
    return NodeRecord(
        node_id=node.node_id,
        name="n1",
        endpoint="tcp://10.0.0.1:7000",
        curve_public=node.curve_public,
        certificate=certificate,
        epoch=Epoch(1),
        boot_id=b"b" * 8,
        version=1,
        zone="nova",
        software="t",
    )


def trust_of(authority: Authority, node: NodeIdentity, *, fabric: FabricId = FABRIC) -> NodeTrust:
    return NodeTrust(node, root_public=authority.root_public, fabric_id=fabric, now_ms=lambda: NOW_MS)


def refusal(authority: Authority, signed: bytes, *, now_ms: int = NOW_MS, fabric: FabricId = FABRIC) -> str:
    with pytest.raises(WireError) as caught:
        read_certificate(signed, root_public=authority.root_public, fabric_id=fabric, now_ms=now_ms)
    return caught.value.reason


def test_root_is_kept_and_never_replaced(tmp_path: Path, authority: Authority) -> None:
    loaded = load_authority(tmp_path, FABRIC)
    assert loaded is not None
    assert loaded.root_public == authority.root_public
    with pytest.raises(IdentityError):
        create_authority(tmp_path, FABRIC)
    assert load_authority(tmp_path / "elsewhere", FABRIC) is None


def test_issued_certificate_holds(authority: Authority, node: NodeIdentity) -> None:
    certificate = read_certificate(
        issue(authority, node), root_public=authority.root_public, fabric_id=FABRIC, now_ms=NOW_MS
    )
    assert (certificate.node_id, certificate.name) == (node.node_id, "n1")
    assert certificate.sign_public == node.sign_public


@pytest.mark.parametrize("name", ["", "x" * 64, "a b", "a\nb", "-a", "a/b", "\u00e9"])
def test_impossible_names_are_not_certified(authority: Authority, node: NodeIdentity, name: str) -> None:
    with pytest.raises(WireError, match="name"):
        issue(authority, node, name)


def test_what_the_root_did_not_sign_is_refused(
    tmp_path: Path, authority: Authority, node: NodeIdentity
) -> None:
    other_directory = tmp_path / "other"
    other_directory.mkdir()
    other = create_authority(other_directory, FABRIC)
    signed = issue(authority, node)
    assert refusal(authority, issue(other, node)) == "bad_certificate"
    assert refusal(authority, signed, fabric=FabricId("fabric-b")) == "bad_certificate"
    assert refusal(authority, signed, now_ms=NOW_MS + CERTIFICATE_LIFE_MS) == "expired_certificate"
    assert refusal(authority, signed, now_ms=NOW_MS - 30 * DAY_MS) == "expired_certificate"
    assert refusal(authority, b"") == "malformed"
    outer = decode_signed(signed)
    changed = bytearray(outer.body)
    changed[-1] ^= 1
    forged = encode_signed(SignedCertificate(body=bytes(changed), signature=outer.signature))
    assert refusal(authority, forged) == "bad_certificate"


def test_a_state_must_be_its_owners_own_word(
    tmp_path: Path, authority: Authority, node: NodeIdentity
) -> None:
    verify = trust_of(authority, node).doubt
    record = record_of(node, issue(authority, node))
    good = sign_record(record, node.sign).state
    assert verify(good, read_state(good).record) is None
    thief_directory = tmp_path / "thief"
    thief_directory.mkdir()
    thief = load_or_create(thief_directory)
    stolen = sign_record(record, thief.sign).state
    assert verify(stolen, record) == "bad_signature"
    misused = sign_record(record_of(thief, record.certificate), thief.sign).state
    assert verify(misused, read_state(misused).record) == "wrong_owner"
    renamed = sign_record(replace(record, name="n2"), node.sign).state
    assert verify(renamed, read_state(renamed).record) == "wrong_name"
    greedy = sign_record(replace(record, roles=(RoleClaim(role="king", fence=1, since_ms=1),)), node.sign)
    assert verify(greedy.state, greedy.record) == "role_not_allowed"


def test_only_the_root_says_whose_keys_they_are(authority: Authority, node: NodeIdentity) -> None:
    trust = trust_of(authority, node)
    other = replace(record_of(node, issue(authority, node)), node_id=NodeId("0" * 32))
    said = sign_record(other, node.sign)
    assert trust.doubt(said.state, said.record) == "wrong_owner"


def test_a_joined_node_may_carry_guests_and_no_more(authority: Authority, node: NodeIdentity) -> None:
    """Whoever could claim to conduct could give every host orders."""
    verify = trust_of(authority, node).doubt
    founders = authority.issue(
        curve_public=node.curve_public,
        sign_public=node.sign_public,
        name="n1",
        now_ms=NOW_MS,
        roles=FOUNDER_ROLES,
    )
    for role, of_host, of_founder in (
        ("host", None, None),
        ("conductor", "role_not_allowed", None),
        ("scheduler", "role_not_allowed", None),
        ("api", "role_not_allowed", None),
        ("king", "role_not_allowed", "role_not_allowed"),
    ):
        claims = (RoleClaim(role=role, fence=1 << 40, since_ms=1),)
        for certificate, expected in ((issue(authority, node), of_host), (founders, of_founder)):
            said = sign_record(replace(record_of(node, certificate), roles=claims), node.sign)
            assert verify(said.state, said.record) == expected, role
            assert trust_of(authority, node).allows(certificate, role) is (expected is None)


def test_a_node_whose_papers_do_not_fit_is_told_before_it_speaks(
    tmp_path: Path, authority: Authority, node: NodeIdentity
) -> None:
    member = Membership(FABRIC, authority.root_public, issue(authority, node))
    assert check_admission(member, node, now_ms=NOW_MS).name == "n1"
    with pytest.raises(
        IdentityError, match=r"is the clock right.* join again with a token .*its keys in place"
    ):
        check_admission(member, node, now_ms=0)
    with pytest.raises(IdentityError, match="join again with a token"):
        check_admission(member, node, now_ms=NOW_MS + CERTIFICATE_LIFE_MS)
    (tmp_path / "other").mkdir()
    with pytest.raises(IdentityError, match="two different nodes"):
        check_admission(member, load_or_create(tmp_path / "other"), now_ms=NOW_MS)


def test_a_certificate_lasts_a_quarter_of_a_year_and_forgives_a_day(
    authority: Authority, node: NodeIdentity
) -> None:
    signed = issue(authority, node)
    for now_ms in (NOW_MS - CLOCK_SKEW_MS, NOW_MS + 90 * DAY_MS - 1):
        read_certificate(signed, root_public=authority.root_public, fabric_id=FABRIC, now_ms=now_ms)
    assert refusal(authority, signed, now_ms=NOW_MS - CLOCK_SKEW_MS - 1) == "expired_certificate"
    assert refusal(authority, signed, now_ms=NOW_MS + 90 * DAY_MS) == "expired_certificate"


def test_the_period_is_looked_at_anew_each_time(authority: Authority, node: NodeIdentity) -> None:
    now = [NOW_MS]
    trust = NodeTrust(node, root_public=authority.root_public, fabric_id=FABRIC, now_ms=lambda: now[0])
    said = sign_record(record_of(node, issue(authority, node)), node.sign)
    assert trust.doubt(said.state, said.record) is None
    now[0] += CERTIFICATE_LIFE_MS
    assert trust.doubt(said.state, said.record) == "expired_certificate"


def test_a_later_certificate_makes_the_earlier_one_spent(
    tmp_path: Path, authority: Authority, node: NodeIdentity
) -> None:
    trust = trust_of(authority, node)
    fresh = identity_of(new_keys(node.node_id))

    def made(keys: NodeIdentity, generation: int) -> bytes:
        return authority.issue(
            curve_public=keys.curve_public,
            sign_public=keys.sign_public,
            name="n1",
            now_ms=NOW_MS,
            node_id=node.node_id,
            generation=generation,
        )

    first, renewed, rotated = made(node, 1), made(node, 2), made(fresh, 3)
    assert trust.is_newer(renewed, first)
    assert trust.is_newer(rotated, renewed)
    assert not trust.is_newer(first, renewed)
    assert not trust.is_newer(first, first)
    assert not trust.is_newer(made(node, 1), first)  # another issue of the same generation
    (tmp_path / "other").mkdir()
    other = load_or_create(tmp_path / "other")
    assert not trust.is_newer(issue(authority, other), first)
    assert not trust.is_newer(b"no certificate", first)
    assert not trust.is_newer(rotated, b"no certificate")


def test_rotated_keys_speak_for_the_same_node(authority: Authority, node: NodeIdentity) -> None:
    trust = trust_of(authority, node)
    fresh = identity_of(new_keys(node.node_id))
    certificate = authority.issue(
        curve_public=fresh.curve_public,
        sign_public=fresh.sign_public,
        name="n1",
        now_ms=NOW_MS,
        node_id=node.node_id,
        generation=2,
    )
    record = record_of(fresh, certificate)
    assert record.node_id == node.node_id
    said = sign_record(record, trust.sign)
    assert trust.doubt(said.state, record) == "bad_signature"  # the old key's
    trust.use(fresh)
    said = sign_record(record, trust.sign)
    assert trust.doubt(said.state, record) is None
    assert trust.is_spoken_by(said.state, b"a vote", fresh.sign(b"a vote"))
    assert not trust.is_spoken_by(said.state, b"a vote", node.sign(b"a vote"))


def test_only_the_root_removes(tmp_path: Path, authority: Authority, node: NodeIdentity) -> None:
    trust = trust_of(authority, node)
    removal = authority.remove(node.node_id, now_ms=NOW_MS)
    assert trust.removed(removal) == node.node_id
    assert trust_of(authority, node, fabric=FabricId("fabric-b")).removed(removal) is None
    assert trust.removed(Removal(body=removal.body, signature=node.sign(removal.body))) is None
    (tmp_path / "other").mkdir()
    other = create_authority(tmp_path / "other", FABRIC)
    assert trust.removed(other.remove(node.node_id, now_ms=NOW_MS)) is None


def test_junk_never_pushes_out_what_was_proven(
    authority: Authority, node: NodeIdentity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fabric.runtime.authority.CERTIFICATES_REMEMBERED_MAX", 4)
    trust = trust_of(authority, node)
    good = [issue(authority, node) for _ in range(6)]
    for certificate in good:
        said = sign_record(record_of(node, certificate), node.sign)
        assert trust.doubt(said.state, said.record) is None
    for number in range(20):
        junk = sign_record(record_of(node, b"junk %d" % number), node.sign)
        assert trust.doubt(junk.state, junk.record) is not None
    assert list(trust._proven) == good[-4:]

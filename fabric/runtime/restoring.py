"""What a node needs beside rows to lead a group made anew: the root's key, and a certificate to conduct."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fabric.runtime.authority import FOUNDER_ROLES, Authority, load_authority, read_own, save_authority
from fabric.runtime.node_identity import (
    IdentityError,
    Membership,
    NodeIdentity,
    load_membership,
    load_or_create,
    save_membership,
)
from fabric.runtime.rotation import settle


def own(directory: Path) -> tuple[Membership, NodeIdentity]:
    """Who the node in that directory is. Its lock is held. Raises IdentityError."""
    settle(directory)
    member = load_membership(directory)
    if member is None:
        raise IdentityError(
            f"this node belongs to no fabric (state in {directory}): ask a node that was a member of it"
        )
    return member, load_or_create(directory)


def equip(
    directory: Path, member: Membership, identity: NodeIdentity, *, root_key: bytes, now_ms: int
) -> None:
    """`root_key`: from a backup, or b"". Durable when this returns. Raises IdentityError: there is no root
    key, or another fabric's; WireError: `root_key` is none; OSError."""
    authority = load_authority(directory, member.fabric_id)
    if authority is None and root_key:
        authority = Authority.of(root_key, member.fabric_id)
    if authority is None:
        raise IdentityError(
            "the root key is neither on this node nor in the backup, and without it nobody can be admitted: "
            "ask a node that was a voter, or bring its root.key"
        )
    if authority.root_public != member.root_public:
        raise IdentityError("the root key is another fabric's")
    save_authority(directory, authority)
    known = read_own(member.certificate)
    if set(FOUNDER_ROLES) <= set(known.roles):
        return
    certificate = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name=known.name,
        now_ms=now_ms,
        roles=FOUNDER_ROLES,
        node_id=identity.node_id,
        generation=known.generation + 1,
    )
    save_membership(directory, replace(member, certificate=certificate))

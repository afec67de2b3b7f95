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
from proto.ids import FabricId


def own(directory: Path) -> tuple[Membership, NodeIdentity]:
    """Who the node in that directory is. Its lock is held. Raises IdentityError."""
    found = known(directory)
    if found is None:
        raise IdentityError(
            f"this node belongs to no fabric (state in {directory}): ask a node that was a member of it"
        )
    return found


def known(directory: Path) -> tuple[Membership, NodeIdentity] | None:
    """As `own`; None: the node was never a member of a fabric."""
    settle(directory)
    member = load_membership(directory)
    return None if member is None else (member, load_or_create(directory))


def root_of(root_key: bytes, fabric_id: FabricId) -> Authority:
    """Of a backup, for a machine that has none of its own. Raises IdentityError: the backup lacks it;
    WireError: `root_key` is no key."""
    if not root_key:
        raise IdentityError(
            "this machine was no member of that fabric, and the backup lacks the root's key, with which it "
            "could become one: restore on a machine that was a member, or from a backup made with "
            "`fabric backup --with-root-key`"
        )
    return Authority.of(root_key, fabric_id)


def become_founder(
    directory: Path,
    identity: NodeIdentity,
    authority: Authority,
    fabric_id: FabricId,
    *,
    name: str,
    now_ms: int,
) -> None:
    """A machine that was no member of the fabric is its first node from now on. Durable when this returns.
    Raises OSError."""
    certificate = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name=name,
        now_ms=now_ms,
        roles=FOUNDER_ROLES,
    )
    save_authority(directory, authority)
    save_membership(
        directory,
        Membership(
            fabric_id=fabric_id, root_public=authority.root_public, certificate=certificate, founder=True
        ),
    )


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

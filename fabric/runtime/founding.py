"""A node's first hour: founding a fabric, or becoming a member of one. Files in the state directory only.

The agent does the rest when it starts: the founder's first log entry is prepared here and proposed there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fabric.core.membership.model import NodeRecord
from fabric.runtime.authority import create_authority
from fabric.runtime.clock import Clock
from fabric.runtime.join import join_with_token
from fabric.runtime.membership_loop import save_peers
from fabric.runtime.node_identity import (
    IdentityError,
    Membership,
    NodeIdentity,
    load_membership,
    load_or_create,
    save_membership,
    write_private,
)
from proto.commands import decode_command, encode_command
from proto.commands.identity import FabricInit
from proto.ids import (
    DomainId,
    FabricId,
    Incarnation,
    ProjectId,
    RoleId,
    UserId,
    new_hex_id,
    new_uuid,
)
from proto.join import JoinTokenText

FIRST_ENTRY_FILE = "first-entry"
DEFAULT_DOMAIN = DomainId("default")
TOKEN_KEY_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node says of itself before it runs."""

    name: str
    endpoint: str
    zone: str
    software: str


def found(
    directory: Path,
    facts: NodeFacts,
    *,
    admin_password_hash: str,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> NodeIdentity:
    """Makes this node the first of a new fabric. Raises IdentityError when it is in one already."""
    _refuse_second(directory)
    identity = load_or_create(directory)
    fabric_id = FabricId(new_uuid())
    authority = create_authority(directory, fabric_id)
    certificate = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name=facts.name,
        now_ms=clock.wall_ms(),
    )
    first = FabricInit(
        fabric_id=fabric_id,
        node_id=identity.node_id,
        root_public=authority.root_public,
        domain_id=DEFAULT_DOMAIN,
        admin_project_id=ProjectId(new_hex_id()),
        service_project_id=ProjectId(new_hex_id()),
        admin_user_id=UserId(new_hex_id()),
        admin_password_hash=admin_password_hash,
        admin_role_id=RoleId(new_hex_id()),
        manager_role_id=RoleId(new_hex_id()),
        member_role_id=RoleId(new_hex_id()),
        reader_role_id=RoleId(new_hex_id()),
        token_key=random_bytes(TOKEN_KEY_BYTES),
    )
    write_private(directory / FIRST_ENTRY_FILE, encode_command(first))
    save_membership(
        directory,
        Membership(
            fabric_id=fabric_id, root_public=authority.root_public, certificate=certificate, founder=True
        ),
    )
    return identity


def first_entry(directory: Path) -> FabricInit | None:
    """The founder's prepared first entry; None once it was forgotten."""
    path = directory / FIRST_ENTRY_FILE
    if not path.exists():
        return None
    command = decode_command(path.read_bytes())
    assert isinstance(command, FabricInit)
    return command


def forget_first_entry(directory: Path) -> None:
    """It is in the log now."""
    (directory / FIRST_ENTRY_FILE).unlink(missing_ok=True)


async def join(directory: Path, facts: NodeFacts, token: JoinTokenText, clock: Clock) -> NodeIdentity:
    """Asks to become a member. Joining again after an unknown outcome is safe: the key is the same.

    Raises IdentityError, JoinError, DeadlineExceededError.
    """
    _refuse_second(directory)
    identity = load_or_create(directory)
    record = NodeRecord(
        node_id=identity.node_id,
        name=facts.name,
        endpoint=facts.endpoint,
        curve_public=identity.curve_public,
        certificate=b"",
        incarnation=Incarnation(0),  # the first start is 1
        version=0,
        zone=facts.zone,
        software=facts.software,
    )
    reply = await join_with_token(token, identity, record, clock)
    save_peers(directory, reply.states)
    save_membership(
        directory,
        Membership(fabric_id=reply.fabric_id, root_public=reply.root_public, certificate=reply.certificate),
    )
    return identity


def _refuse_second(directory: Path) -> None:
    member = load_membership(directory)
    if member is not None:
        how = "founded" if member.founder else "joined"
        raise IdentityError(
            f"this node has {how} fabric {member.fabric_id} already (state in {directory}); "
            "to start anew, stop its agent and remove that directory"
        )

"""A node's first hour: founding a fabric, or becoming a member of one. Files in the state directory only.

`fabric.member` is written last in both: until it is there nothing has happened, and doing it again is safe
wherever a crash cut it short. The agent does the rest when it starts: the founder's first log entry is
prepared here and proposed there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fabric.core.membership.model import NodeRecord
from fabric.errors import ConfigError
from fabric.runtime.authority import (
    FOUNDER_ROLES,
    ROOT_FILE,
    Authority,
    create_authority,
    load_authority,
    read_own,
    root_fingerprint,
)
from fabric.runtime.clock import Clock
from fabric.runtime.join import join_with_token
from fabric.runtime.node_identity import (
    MEMBERSHIP_FILE,
    IdentityError,
    Membership,
    NodeIdentity,
    has_run,
    load_membership,
    load_or_create,
    next_epoch,
    save_membership,
)
from fabric.runtime.peers_file import save_peers
from fabric.runtime.rotation import settle
from fabric.store.files import write_private
from fabric.store.lock import DirectoryLock
from proto.commands import decode_command, encode_command
from proto.commands.identity import FabricInit
from proto.errors import WireError
from proto.ids import (
    DomainId,
    Epoch,
    FabricId,
    ProjectId,
    RoleId,
    UserId,
    new_hex_id,
    new_uuid,
)
from proto.join import JoinTokenText

# QEMU runs as a user of its own and must reach its disks below; what is secret is private itself.
PASSABLE = 0o711
FIRST_ENTRY_FILE = "first-entry"
DEFAULT_DOMAIN = DomainId("default")
TOKEN_KEY_BYTES = 32


def prepare_directory(path: Path) -> None:
    """The state directory: others may pass through, not look. Raises ConfigError when it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.chmod(PASSABLE)
    except OSError as error:
        raise ConfigError(f"node.state_dir: cannot make {path}: {error.strerror}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node says of itself before it runs."""

    name: str
    endpoint: str
    zone: str
    software: str
    rack: str = ""


def found(
    directory: Path,
    facts: NodeFacts,
    *,
    admin_password_hash: str,
    clock: Clock,
    random_bytes: Callable[[int], bytes],
) -> NodeIdentity:
    """Makes this node the first of a new fabric. Raises IdentityError when it is in one already."""
    refuse_second(directory)
    identity = load_or_create(directory)
    fabric_id = FabricId(new_uuid())
    authority = _root(directory, fabric_id)
    certificate = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name=facts.name,
        now_ms=clock.wall_ms(),
        roles=FOUNDER_ROLES,
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


def _root(directory: Path, fabric_id: FabricId) -> Authority:
    """A new root, or the one that a founding cut short has left and nobody ever used."""
    if has_run(directory) and (directory / ROOT_FILE).exists():
        raise IdentityError(
            f"{directory / MEMBERSHIP_FILE} is missing, and the agent of this founder has run before; "
            f"restore the file from a backup, or remove {directory} to start anew"
        )
    return load_authority(directory, fabric_id) or create_authority(directory, fabric_id)


def first_entry(directory: Path) -> FabricInit | None:
    """The founder's prepared first entry; None once it was forgotten. Raises IdentityError."""
    path = directory / FIRST_ENTRY_FILE
    if not path.exists():
        return None
    try:
        command = decode_command(path.read_bytes())
    except WireError as error:
        raise IdentityError(f"{path}: damaged ({error}); restore it from a backup") from error
    if not isinstance(command, FabricInit):
        raise IdentityError(f"{path}: holds another command than it should; restore it from a backup")
    return command


def forget_first_entry(directory: Path) -> None:
    """It is in the log now."""
    (directory / FIRST_ENTRY_FILE).unlink(missing_ok=True)


async def join(directory: Path, facts: NodeFacts, token: JoinTokenText, clock: Clock) -> NodeIdentity:
    """Asks to become a member. Joining again after an unknown outcome is safe: the key is the same. A member
    may join its own fabric again when its certificate has expired.

    Raises IdentityError, JoinError, DeadlineExceededError, StoreLockedError (its agent runs).
    """
    lock = DirectoryLock(directory)
    lock.acquire()
    try:
        settle(directory)
        _refuse_valid_member(directory, token, clock.wall_ms())
        return await _join(directory, facts, token, clock)
    finally:
        lock.release()


async def _join(directory: Path, facts: NodeFacts, token: JoinTokenText, clock: Clock) -> NodeIdentity:
    identity = load_or_create(directory)
    record = NodeRecord(
        node_id=identity.node_id,
        name=facts.name,
        endpoint=facts.endpoint,
        curve_public=identity.curve_public,
        certificate=b"",
        # The first start is 1; who was here before must say something newer than it said then.
        epoch=next_epoch(directory) if has_run(directory) else Epoch(0),
        version=0,
        zone=facts.zone,
        rack=facts.rack,
        software=facts.software,
    )
    reply = await join_with_token(token, identity, record, clock)
    save_peers(directory, reply.states, reply.removals)
    save_membership(
        directory,
        Membership(fabric_id=reply.fabric_id, root_public=reply.root_public, certificate=reply.certificate),
    )
    return identity


def _refuse_valid_member(directory: Path, token: JoinTokenText, now_ms: int) -> None:
    """Raises IdentityError unless this node is in no fabric, or in the one that made the token, with a
    certificate that has expired."""
    member = load_membership(directory)
    if member is not None and not member.founder:
        is_expired = read_own(member.certificate).not_after_ms <= now_ms
        if is_expired and root_fingerprint(member.root_public) == token.root_fingerprint:
            return
    refuse_second(directory)


def refuse_second(directory: Path) -> None:
    """Raises IdentityError when this node is in a fabric already."""
    member = load_membership(directory)
    if member is not None:
        how = "founded" if member.founder else "joined"
        raise IdentityError(
            f"this node has {how} fabric {member.fabric_id} already (state in {directory}); "
            "to start anew, stop its agent and remove that directory"
        )

"""A fabric's root, and for each machine a state directory as `fabric join` leaves it: keys, certificate, and
the first word of the node, which the door hands to the authority."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import sign_record
from fabric.runtime.authority import FOUNDER_ROLES, HOST_ROLES, Authority
from fabric.runtime.clock import SystemClock
from fabric.runtime.node_identity import Membership, load_or_create, save_membership
from fabric.runtime.peers_file import save_peers
from proto.ids import Epoch, FabricId, new_uuid
from proto.membership import NodeState

MESH_PORT = 7400


@dataclass(frozen=True, slots=True)
class MeshIdentities:
    """Machine 0 is the founder: it alone knows all others' first word, in its file of the admitted."""

    folder: Path

    def directory(self, machine: int) -> Path:
        return self.folder / f"n{machine}"

    @property
    def admitted(self) -> Path:
        """A directory whose peers file holds the first state of everybody but the founder."""
        return self.folder / "admitted"


def name_of(machine: int) -> str:
    return f"n{machine}"


def machine_of(name: str) -> int:
    return int(name[1:])


def make_identities(folder: Path, addresses: list[str]) -> MeshIdentities:
    identities = MeshIdentities(folder)
    authority = Authority(Ed25519PrivateKey.generate(), FabricId(new_uuid()))
    states = [_make(identities, machine, address, authority) for machine, address in enumerate(addresses)]
    identities.admitted.mkdir()
    save_peers(identities.admitted, tuple(states[1:]))
    for machine in range(1, len(addresses)):
        save_peers(identities.directory(machine), (states[0],))
    return identities


def _make(identities: MeshIdentities, machine: int, address: str, authority: Authority) -> NodeState:
    directory = identities.directory(machine)
    directory.mkdir(parents=True)
    identity = load_or_create(directory)
    certificate = authority.issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name=name_of(machine),
        now_ms=SystemClock().wall_ms(),
        roles=HOST_ROLES if machine else FOUNDER_ROLES,
    )
    save_membership(
        directory,
        Membership(
            fabric_id=authority.fabric_id,
            root_public=authority.root_public,
            certificate=certificate,
            founder=machine == 0,
        ),
    )
    first = NodeRecord(
        node_id=identity.node_id,
        name=name_of(machine),
        endpoint=f"tcp://{address}:{MESH_PORT}",
        curve_public=identity.curve_public,
        certificate=certificate,
        epoch=Epoch(0),  # the first start is 1
        version=0,
        zone="nova",
        software="bench",
    )
    return sign_record(first, identity.sign).state

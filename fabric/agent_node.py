"""What every agent has, whatever else it does: handed on to the sides that are made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from fabric.agent_identity import IdentitySide
from fabric.config import Config
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.blob_store import FileBlobStore
from fabric.runtime.blob_transfer import BlobFetcher
from fabric.runtime.clock import Clock
from fabric.runtime.events import EventLog
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.remote_state import RemoteState
from fabric.runtime.role_claims import RoleClaims
from fabric.runtime.watchdog import LoopLag
from fabric.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeParts:
    config: Config
    who: IdentitySide
    fleet: MembershipLoop
    transport: RouterDealer
    switchboard: Switchboard
    rpc: MeshRpc
    clock: Clock
    events: EventLog
    address: str  # what others reach this node at
    claims: RoleClaims
    supervisor: Supervisor
    remote: RemoteState
    blobs: FileBlobStore
    fetcher: BlobFetcher
    lag: Callable[[], LoopLag]  # of the event loop
    label: Callable[[Mapping[str, str]], None]  # sets labels of this node's record; "" takes one off

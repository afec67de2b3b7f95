"""What every operation is given: who asks, and the cloud it asks of."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from fabric.control.auth_state import AuthState
from fabric.core.placement.policy import Policy, policy_of
from fabric.core.placement.settings import PlacementSettings
from fabric.runtime.blobs import BlobSource, BlobStore
from fabric.runtime.clock import Clock
from fabric.runtime.fleet import Fleet
from fabric.runtime.hard_state import HardState
from fabric.runtime.hosts import HostCalls
from fabric.runtime.shared_table import SharedTable
from proto.ids import DomainId, LogIndex, ProjectId, RequestId, UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An authenticated request. `roles` are names, implied ones included (admin, manager, member, reader)."""

    user_id: UserId
    user_name: str
    domain_id: DomainId
    project_id: ProjectId | None  # None: unscoped token
    project_name: str | None
    roles: frozenset[str]
    request_id: RequestId

    @property
    def is_admin(self) -> bool:
        return "admin" in self.roles


class WaitApplied(Protocol):
    async def __call__(self, index: LogIndex, *, timeout_ms: int) -> None:
        """Until this node's rows hold that entry. Raises DeadlineExceededError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """Handed to every control function. Parts are contracts; `fabric.agent` chooses them."""

    state: HardState
    fleet: Fleet
    hosts: HostCalls
    blobs: BlobStore
    clock: Clock
    build_deadline_ms: int = 600_000
    action_deadline_ms: int = 180_000
    move_deadline_ms: int = 3_600_000  # disks cross meanwhile
    default_zone: str = "nova"
    region: str = "RegionOne"
    wait_applied: WaitApplied | None = None  # None: the rows are never behind
    catch_up: Callable[[], Awaitable[None]] | None = None  # reads that are acted on come after it
    blob_source: BlobSource | None = None  # None: only this node's own blobs can be downloaded
    image_bytes_max: int = 1 << 40  # one upload; Glance's image_size_cap
    token_ttl_ms: int = 3_600_000  # Keystone's default
    public_url: str | None = None  # what hrefs begin with; None: what the client came by
    auth: AuthState = field(default_factory=AuthState)
    table: SharedTable | None = None  # None: hosts are read for each explanation
    placement: Policy = field(default_factory=lambda: policy_of(PlacementSettings()))  # the scheduler's own

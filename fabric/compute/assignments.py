"""The rows assigned to this host, complete, in memory.

Invariants: after the first successful pull `is_complete` stays true and `server_ids` is the answer of
one index; `applied_index` never falls, not even over restarts (within SAVE_INTERVAL_MS). That guards
guests against a conductor that lost its rows: an empty answer from an old copy is refused, not obeyed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

from fabric.compute.durable_file import read_json, save_json
from fabric.compute.errors import BadAssignmentsError, DamagedFileError, StaleAssignmentsError
from fabric.core.moves.model import MoveKind
from fabric.core.networks.model import SecurityGroup
from fabric.core.servers.model import AssignedServer, HostAssignments
from fabric.core.servers.queries import GetAssignments
from fabric.core.servers.states import Desired
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from proto.ids import NodeId, ServerId

log = logging.getLogger(__name__)

PAGES_MAX = 10_000  # of half a megabyte: far above what one host can run
FULL_INTERVAL_MS = 60_000  # a complete pull now and then costs little and repairs any missed change
SAVE_INTERVAL_MS = 1_000  # the index on disk may lag so much in a crash; each save is a disk flush


class Assignments:
    def __init__(self, state: HardState, host_id: NodeId, file: Path, clock: Clock) -> None:
        """Reads `file`. Raises OSError; DamagedFileError when it is damaged (remove it only after making sure
        that the conductor's rows are the newest)."""
        self._state = state
        self._host_id = host_id
        self._file = file
        self._clock = clock
        saved = read_json(file)
        floor = saved.get("applied_index") if saved is not None else 0
        if type(floor) is not int or floor < 0:
            raise DamagedFileError(f"{file} is damaged: applied_index")
        self._floor = self._saved = floor
        self._saved_ms: int | None = None
        self._since = 0
        self._full_ms: int | None = None
        self._servers: dict[ServerId, AssignedServer] = {}
        self._guests: dict[tuple[str, str], ServerId] = {}
        self.server_ids: frozenset[ServerId] = frozenset()
        self.security_groups: tuple[SecurityGroup, ...] = ()
        self.group_addresses: Mapping[str, tuple[str, ...]] = {}
        self.parked: Mapping[ServerId, NodeId] = {}  # kept for a move, by the host that it went to
        self.arriving_ids: frozenset[ServerId] = frozenset()  # guests that come live, another host's still
        self.arriving: Mapping[ServerId, AssignedServer] = {}  # those whose turn it is
        self.is_enabled = True
        self.disabled_reason = ""

    @property
    def is_complete(self) -> bool:
        """A whole answer has been taken in, in this life."""
        return self._full_ms is not None

    @property
    def applied_index(self) -> int:
        return self._floor

    @property
    def servers(self) -> Mapping[ServerId, AssignedServer]:
        return self._servers

    def row(self, server_id: ServerId) -> AssignedServer | None:
        """Of a server that is here, or comes here."""
        return self._servers.get(server_id) or self.arriving.get(server_id)

    def guest(self, network_id: str, address: str) -> AssignedServer | None:
        """Who has this address on this network. None for strangers and servers being deleted."""
        server_id = self._guests.get((network_id, address))
        return self._servers.get(server_id) if server_id is not None else None

    def goes_live_to(self, server_id: ServerId) -> NodeId | None:
        """The host that a guest of this one is going to while it runs."""
        assigned = self._servers.get(server_id)
        move = None if assigned is None else assigned.move
        return None if move is None or move.kind is not MoveKind.LIVE else move.dest_host_id

    async def pull(self) -> None:
        """Takes in what changed, or everything. On any error the map stays as it was.

        Raises: StaleAssignmentsError, BadAssignmentsError, FabricError of the read, OSError (our file).
        """
        is_full = self._full_ms is None or self._clock.monotonic_ms() - self._full_ms >= FULL_INTERVAL_MS
        page, changed = await self._read_pages(0 if is_full else self._since)
        if not is_full and not set(page.server_ids) <= self._servers.keys() | changed.keys():
            # A server came to us without a change we were told of: ask for everything.
            is_full = True
            page, changed = await self._read_pages(0)
        await self._remember(page.applied_index)
        self._take(page, changed, is_full=is_full)

    async def _read_pages(self, since: int) -> tuple[HostAssignments, dict[ServerId, AssignedServer]]:
        """The last page, and the changed servers of all pages."""
        changed: dict[ServerId, AssignedServer] = {}
        newest = self._floor
        for _ in range(PAGES_MAX):
            page = await self._state.read(GetAssignments(host_id=self._host_id, since_index=since))
            if page.host_id != self._host_id:
                raise BadAssignmentsError(f"asked for host {self._host_id}, got {page.host_id}")
            if page.applied_index < newest:
                raise StaleAssignmentsError(
                    f"got rows of index {page.applied_index}, but this host has acted on index {newest}"
                )
            newest = page.applied_index
            changed.update((assigned.server.server_id, assigned) for assigned in page.servers)
            if not page.more:
                return page, changed
            if page.next_since <= since:
                raise BadAssignmentsError(f"page after {since} leads to {page.next_since}")
            since = page.next_since
        raise BadAssignmentsError(f"more than {PAGES_MAX} pages")

    def _take(
        self, page: HostAssignments, changed: Mapping[ServerId, AssignedServer], *, is_full: bool
    ) -> None:
        self.server_ids = frozenset(page.server_ids)
        known = dict(changed) if is_full else {**self._servers, **changed}
        self._servers = {server_id: known[server_id] for server_id in page.server_ids if server_id in known}
        self._guests = {
            (port.network_id, fixed.address): server_id
            for server_id, assigned in self._servers.items()
            if assigned.server.desired is not Desired.ABSENT
            for port in assigned.ports
            for fixed in port.fixed_ips
        }
        self.security_groups = page.security_groups
        self.group_addresses = page.group_addresses
        self.parked = {each.server_id: each.to_host_id for each in page.parked}
        self.arriving_ids = frozenset(page.arriving_ids)
        self.arriving = {each.server.server_id: each for each in page.arriving}
        self.is_enabled = page.is_enabled
        self.disabled_reason = page.disabled_reason
        self._since = page.applied_index
        if is_full:
            self._full_ms = self._clock.monotonic_ms()

    async def _remember(self, applied_index: int) -> None:
        """Before acting on rows, their index is on disk, or one at most SAVE_INTERVAL_MS older is."""
        self._floor = applied_index
        now_ms = self._clock.monotonic_ms()
        if self._saved_ms is None or now_ms - self._saved_ms >= SAVE_INTERVAL_MS:
            await self.save()
            self._saved_ms = now_ms

    async def save(self) -> None:
        """The index of the newest rows is on disk. Raises OSError."""
        if self._floor > self._saved:
            floor = self._floor
            await save_json(self._file, {"applied_index": floor})
            self._saved = floor

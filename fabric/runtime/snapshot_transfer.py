"""Snapshots from voter to voter over the mesh: method `log.snapshot`, stream method `log.snapshot_bytes`.

The leader offers, the follower pulls. An offer names the file's size and digest and carries a ticket, which
opens that one file for that one node while the offer stands. The follower takes nothing but from the voter
that it knows to lead, one at a time, into a file that is gone unless all of it came. Files are read, hashed
and written in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fabric.core.raft.configuration import decode_known, encode_known
from fabric.core.raft.log import SnapshotMark
from fabric.errors import DeadlineExceededError, FabricError, Outcome, RemoteError
from fabric.mesh.rpc_contract import Rpc
from fabric.store.errors import SnapshotRefusedError, StoreBusyError, StoreStoppedError
from fabric.store.files import DISK_FREE_BYTES_MIN
from proto.codec import Plain
from proto.ids import NodeId, Term, VoterId, node_of
from proto.raft_frames import DIGEST_BYTES, TICKET_BYTES, RaftAddress, SnapshotOffer
from proto.records import from_wire, to_wire

LOG_SNAPSHOT, LOG_SNAPSHOT_BYTES = "log.snapshot", "log.snapshot_bytes"
CHUNK_BYTES = 256 * 1024
CHUNK_TIMEOUT_MS = 15_000  # between chunks
CALL_TIMEOUT_MS = 600_000  # for all of it
STALL_S = 30.0  # without a chunk being asked for: the follower is gone
KEEP_BYTES_PER_S = 20 << 20  # a slow disk still checks and keeps what it has got this fast
SNAPSHOT_BYTES_MAX = 16 << 30
COPIES_ON_DISK = 3  # until it is put in: the file, SQLite's write-ahead log, the tables


class SnapshotBrokenError(FabricError):
    """Other bytes came than were offered. Nothing was kept."""

    code = "fabric.raft.snapshot_broken"
    outcome = Outcome.NOT_DONE


class SnapshotTaker(Protocol):
    """A voter that snapshots arrive for; see `fabric.store.voter_engine.VoterEngine`."""

    @property
    def leader_id(self) -> VoterId | None: ...

    @property
    def term(self) -> Term: ...

    def incoming_snapshot(self, sender: VoterId) -> Path: ...

    async def receive_snapshot(self, sender: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None: ...


class PresentVoter(Protocol):
    """The voter that lives on this node now."""

    @property
    def engine(self) -> SnapshotTaker: ...

    def check(self, node_id: NodeId, address: RaftAddress) -> None:
        """Raises WireError for what is not for it, or not from who it says."""
        ...


# ---- out


@dataclass(slots=True, eq=False)
class _Offered:
    """`limit` is when its offerer gives up."""

    node_id: NodeId
    path: Path
    size: int
    limit: asyncio.Timeout
    is_taken: bool = False
    is_over: bool = False

    def await_more(self, seconds: float) -> None:
        """The follower is there: it gets so long for what is next. Raises RemoteError: the offer is gone."""
        if self.is_over or self.limit.expired():
            raise _no_offer()
        self.limit.reschedule(asyncio.get_running_loop().time() + seconds)


class SnapshotSource:
    """One for an agent's life, made before the switchboard starts."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc
        self._offered: dict[bytes, _Offered] = {}
        rpc.serve_stream(LOG_SNAPSHOT_BYTES, self._pull)

    async def send(self, address: RaftAddress, term: Term, mark: SnapshotMark, path: Path) -> None:
        """Until the follower has kept it. Raises OSError, RemoteError, PeerUnreachableError,
        DeadlineExceededError."""
        size, digest = await asyncio.to_thread(_size_and_digest, path)
        ticket = secrets.token_bytes(TICKET_BYTES)
        offer = SnapshotOffer(
            sender=address.sender,
            to=address.to,
            incarnation=address.incarnation,
            term=term,
            index=mark.index,
            mark_term=mark.term,
            configuration=encode_known(mark.configuration),
            size=size,
            digest=digest,
            ticket=ticket,
        )
        node_id = node_of(address.to)
        try:
            async with asyncio.timeout(STALL_S) as limit:
                offered = self._offered[ticket] = _Offered(node_id, path, size, limit)
                try:
                    await self._rpc.call(node_id, LOG_SNAPSHOT, to_wire(offer), timeout_ms=CALL_TIMEOUT_MS)
                finally:
                    offered.is_over = True
                    del self._offered[ticket]
        except TimeoutError as error:
            raise DeadlineExceededError(f"voter {address.to} has stopped taking its snapshot") from error

    async def _pull(self, node_id: NodeId, body: Mapping[str, Plain]) -> AsyncIterator[bytes]:
        ticket = body.get("ticket")
        offered = self._offered.get(ticket) if isinstance(ticket, bytes) else None
        if offered is None or offered.node_id != node_id or offered.is_taken:
            raise _no_offer()
        offered.is_taken = True
        file = await asyncio.to_thread(offered.path.open, "rb")
        try:
            while chunk := await asyncio.to_thread(file.read, CHUNK_BYTES):
                offered.await_more(STALL_S)
                yield chunk
            offered.await_more(STALL_S + offered.size / KEEP_BYTES_PER_S)
        finally:
            file.close()


def _no_offer() -> RemoteError:
    return RemoteError("fabric.raft.no_offer", "this node offers no such snapshot", Outcome.NOT_DONE)


def _size_and_digest(path: Path) -> tuple[int, bytes]:
    hasher, size = hashlib.blake2b(digest_size=DIGEST_BYTES), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            size += len(chunk)
    return size, hasher.digest()


# ---- in


class SnapshotSink:
    """One for an agent's life, made before the switchboard starts."""

    def __init__(self, rpc: Rpc, present: Callable[[], PresentVoter]) -> None:
        """`present` raises FabricError when no voter lives here."""
        self._rpc = rpc
        self._present = present
        self._arriving: asyncio.Timeout | None = None
        rpc.serve(LOG_SNAPSHOT, self._on_offer)

    def stop(self) -> None:
        """The voter is leaving: what arrives for it is broken off."""
        if self._arriving is not None and not self._arriving.expired():
            self._arriving.reschedule(asyncio.get_running_loop().time())

    async def _on_offer(self, node_id: NodeId, body: Mapping[str, Plain]) -> Plain:
        voter = self._present()
        offer = from_wire(SnapshotOffer, body)
        voter.check(node_id, RaftAddress(sender=offer.sender, to=offer.to, incarnation=offer.incarnation))
        mark = SnapshotMark(offer.index, offer.mark_term, decode_known(offer.configuration))
        if (voter.engine.leader_id, voter.engine.term) != (offer.sender, offer.term):
            raise SnapshotRefusedError(f"voter {offer.sender} does not lead here in term {offer.term}")
        if offer.size > SNAPSHOT_BYTES_MAX:
            raise SnapshotRefusedError(f"{offer.size} bytes, at most {SNAPSHOT_BYTES_MAX}")
        if self._arriving is not None:
            raise StoreBusyError("another snapshot is arriving here")
        try:
            async with asyncio.timeout(None) as self._arriving:
                await self._receive(voter.engine, node_id, offer, mark)
        except TimeoutError as error:
            raise StoreStoppedError("the voter has gone") from error
        except OSError as error:
            raise SnapshotRefusedError(f"this node's disk: {error.strerror}") from error
        finally:
            self._arriving = None
        return {}

    async def _receive(
        self, engine: SnapshotTaker, node_id: NodeId, offer: SnapshotOffer, mark: SnapshotMark
    ) -> None:
        arriving = _Arriving(engine.incoming_snapshot(offer.sender), offer)
        try:
            await asyncio.to_thread(arriving.check_room)
            chunks = self._rpc.stream(
                node_id, LOG_SNAPSHOT_BYTES, {"ticket": offer.ticket}, timeout_ms=CHUNK_TIMEOUT_MS
            )
            try:
                async for chunk in chunks:
                    await asyncio.to_thread(arriving.write, chunk)
            finally:
                if isinstance(chunks, AsyncGenerator):  # tells the leader to stop when we gave up first
                    await chunks.aclose()
            await asyncio.to_thread(arriving.finish)
            await engine.receive_snapshot(offer.sender, offer.term, mark, arriving.path)
        finally:  # also when the caller has gone or the voter is leaving: CancelledError
            await asyncio.to_thread(arriving.discard)


class _Arriving:
    """The file on its way in. Its methods run in threads, one at a time, and may be abandoned by a cancelled
    caller: the lock makes `discard` wait for what is still under way."""

    def __init__(self, path: Path, offer: SnapshotOffer) -> None:
        """Raises OSError."""
        self.path = path
        self._offer = offer
        self._file = path.open("wb", buffering=0)
        self._hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._size = 0
        self._lock = threading.Lock()

    def check_room(self) -> None:
        """Raises SnapshotRefusedError, OSError."""
        disk = os.statvfs(self.path.parent)
        free = disk.f_bavail * disk.f_frsize
        if free - COPIES_ON_DISK * self._offer.size < DISK_FREE_BYTES_MIN:
            raise SnapshotRefusedError(
                f"too little disk space on that conductor: {free} bytes are free, and a snapshot of "
                f"{self._offer.size} needs {COPIES_ON_DISK} times as much beside {DISK_FREE_BYTES_MIN}"
            )

    def write(self, chunk: bytes) -> None:
        """Raises SnapshotBrokenError, OSError."""
        with self._lock:
            if self._file.closed:
                return
            self._size += len(chunk)
            if self._size > self._offer.size:
                raise SnapshotBrokenError(f"more came than the {self._offer.size} bytes that were offered")
            self._hasher.update(chunk)
            left = memoryview(chunk)
            while left:
                left = left[self._file.write(left) :]

    def finish(self) -> None:
        """All of it has come. Raises SnapshotBrokenError, OSError."""
        with self._lock:
            self._file.close()
            if self._size != self._offer.size or self._hasher.digest() != self._offer.digest:
                raise SnapshotBrokenError(f"{self._size} other bytes came than were offered")

    def discard(self) -> None:
        """Nothing is left under its name, wherever it was; a kept one has another by now."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._file.close()
            self.path.unlink(missing_ok=True)

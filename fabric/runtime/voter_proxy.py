"""A voter that lives in a process of its own, as its agent sees it: a `fabric.runtime.voter.NodeVoter`.

Theory. The process tells everything in one order: entries as they are applied, how far the rows are, how it
stands. So what is known here at once is never ahead of the rows, and an answer comes behind what it follows
from. Rows are read here, on read-only connections to the same file. When the process is gone nothing more is
known, and the voter counts as one that stopped itself: the agent ends, and whoever starts it starts both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar, cast

from fabric.core.queries import Applied, Consistency, Listener, Query
from fabric.core.raft.configuration import Configuration
from fabric.core.raft.errors import PromiseForgottenError
from fabric.core.raft.log import SnapshotMark
from fabric.core.voters.levels import Levels
from fabric.errors import (
    CommandRejectedError,
    DeadlineExceededError,
    FabricError,
    NotLeaderError,
    Outcome,
    PeerUnreachableError,
    RemoteError,
)
from fabric.runtime import voter_words as words
from fabric.runtime.digest_watch import RowsDifferError
from fabric.runtime.state_wire import rejection_of
from fabric.runtime.voter_channel import Body, ChannelBusyError, ChannelClosedError, VoterChannel
from fabric.runtime.voter_child import VoterChild
from fabric.runtime.voter_words import (
    Opened,
    Seen,
    SnapshotWord,
    VoterPeer,
    VoterStart,
    VoterStatus,
    applied_of,
    entry_of,
    snapshot_word,
)
from fabric.store.errors import (
    HaltedError,
    LogCorruptError,
    LogFailedError,
    SchemaVersionError,
    SnapshotRefusedError,
    StoreBusyError,
    StoreFailedError,
    StoreLockedError,
    StoreStoppedError,
)
from fabric.store.listeners import Listeners
from fabric.store.row_readers import RowReaders
from fabric.store.snapshot_files import SNAPSHOTS, incoming_file
from fabric.store.sqlite import DATABASE
from fabric.store.voter_waiting import Waiting
from proto.codec import FRAME_BYTES_MAX, Plain, pack, unpack_map
from proto.commands import Command, encode_command
from proto.errors import WireError
from proto.ids import LogIndex, NodeId, RequestId, Term, VoterId, node_of
from proto.raft import RaftMessage
from proto.raft_frames import RaftAddress, raft_body
from proto.records import from_wire, to_wire

log = logging.getLogger(__name__)

T = TypeVar("T")

BEAT_S = 1.0  # the process counts on hearing something within ten
SILENT_BEATS = 30  # without a word from it, while this loop runs: it is stuck for good
CLOSE_S = 8.0
DIGESTS_KEPT = 4

_ERRORS: dict[str, Callable[[str], FabricError]] = {
    kind.code: kind
    for kind in (
        NotLeaderError,
        PeerUnreachableError,
        DeadlineExceededError,
        StoreBusyError,
        StoreStoppedError,
        StoreFailedError,
        SnapshotRefusedError,
        LogCorruptError,
        LogFailedError,
        PromiseForgottenError,
        RowsDifferError,
        SchemaVersionError,
        StoreLockedError,
    )
}

SendSnapshot = Callable[[SnapshotWord], Awaitable[None]]


class VoterProcessError(FabricError):
    """The voter's process ended, or does not answer. What it held may have been done."""

    code = "fabric.voters.process"
    outcome = Outcome.UNKNOWN


class Child(Protocol):
    """See `fabric.runtime.voter_child.VoterChild`."""

    @property
    def pid(self) -> int | None: ...

    async def start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]: ...

    async def end(self) -> None: ...


class VoterProxy:
    """`open`, then `run` beside the agent's other parts, `close`."""

    def __init__(
        self,
        start: VoterStart,
        *,
        send_snapshot: SendSnapshot,
        on_failure: Callable[[BaseException], None],
        child: Child | None = None,
    ) -> None:
        """`send_snapshot` brings a file to another voter. `on_failure` is called once, when the voter stopped
        itself or its process ended."""
        self.me = start.me
        self._start = start
        self._directory = Path(start.directory)
        self._send_snapshot = send_snapshot
        self._on_failure = on_failure
        self._child: Child = child or VoterChild()
        self._channel: VoterChannel | None = None
        self._reading: asyncio.Task[None] | None = None
        self._rows: RowReaders | None = None
        self._failure: BaseException | None = None
        self._is_closing = False
        self._listeners = Listeners()
        self._lead_listeners: list[Callable[[], None]] = []
        self._waiting = Waiting()
        self._applied = LogIndex(0)
        self._levels: Levels | None = None
        self._status: VoterStatus | None = None
        self._status_s = 0.0  # when it came, by the loop's clock
        self._halt: HaltedError | None = None
        self._seen: dict[VoterId, Seen] = {}
        self._configuration = Configuration()
        self._changes = 0
        self._digests: dict[LogIndex, bytes] = {}
        self._digests_asked: dict[LogIndex, asyncio.Task[None]] = {}

    # ---- what others may know

    @property
    def applied_index(self) -> LogIndex:
        return self._applied

    @property
    def pid(self) -> int | None:
        return self._child.pid

    @property
    def passed_over(self) -> int:
        """As `VoterEngine.passed_over`."""
        return 0 if self._status is None else self._status.passed_over

    @property
    def level(self) -> int:
        """As `VoterEngine.level`."""
        return 0 if self._status is None else self._status.level

    @property
    def levels(self) -> Levels:
        """As `VoterEngine.levels`."""
        assert self._levels is not None, "open first"
        return self._levels

    @property
    def halt(self) -> HaltedError | None:
        """As `VoterEngine.halt`."""
        return self._halt

    @property
    def is_leader(self) -> bool:
        return self._failure is None and self._status is not None and self._status.is_leader

    @property
    def leader_id(self) -> VoterId | None:
        return None if self._status is None else self._status.leader_id

    @property
    def term(self) -> Term:
        return self._need_status().term

    @property
    def configuration(self) -> Configuration:
        self._need_status()
        return self._configuration

    @property
    def is_changing(self) -> bool:
        status = self._need_status()
        return status.is_changing or status.changes != self._changes  # it has not heard of the last one yet

    def progress(self) -> Mapping[VoterId, Seen]:
        return {} if self._status is None or not self.is_leader else self._seen

    def lead_left_ms(self) -> int | None:
        """As `VoterEngine.lead_left_ms`."""
        if self._status is None or not self.is_leader or self._status.lead_left_ms is None:
            return None
        age_ms = int(1_000 * (asyncio.get_running_loop().time() - self._status_s))
        return max(0, self._status.lead_left_ms - age_ms)

    def furthest_other(self) -> VoterId | None:
        return None if self._status is None or not self.is_leader else self._status.heir

    def digest(self, index: LogIndex) -> bytes | None:
        """None while it is not known here: then it is asked for, and may be known at the next look."""
        known = self._digests.get(index)
        if known is None and index not in self._digests_asked and self._channel is not None:
            asking = asyncio.create_task(self._ask_digest(index), name=f"digest of {index}")
            self._digests_asked[index] = asking
            asking.add_done_callback(lambda _: self._digests_asked.pop(index, None))
        return known

    async def _ask_digest(self, index: LogIndex) -> None:
        try:
            digest = await self._ask(words.DIGEST, {"index": index})
        except FabricError as error:
            log.debug("digest not known", extra={"index": index, "reason": str(error)})
            return
        if isinstance(digest, bytes):
            self._digests[index] = digest
            while len(self._digests) > DIGESTS_KEPT:
                del self._digests[min(self._digests)]

    # ---- life

    async def open(self) -> str:
        """Starts the process, which takes the directory. Returns its mesh endpoint. Raises as
        `VoterEngine.open`, but RemoteError (of VoterNotOpenedError) where that raises what is no FabricError;
        VoterProcessError, OSError."""
        reader, writer = await self._child.start()
        self._channel = VoterChannel(reader, writer, serve=self._serve, hear=self._hear)
        self._reading = asyncio.create_task(self._channel.run(), name="voter channel")
        try:
            told = await self._channel.ask(words.START, to_wire(self._start))
            opened = from_wire(Opened, told)
            self._applied = max(self._applied, opened.applied_index)
            self._levels = opened.levels
            if self._status is None:  # else it has said something newer since
                self._take_status(opened.status)
            self._rows = await asyncio.to_thread(RowReaders, self._directory / DATABASE)
        except ChannelClosedError as error:
            await self.close()
            raise VoterProcessError("the voter's process ended while it started; its log says why") from error
        except RemoteError as error:
            await self.close()
            raise _known_error(error) from error
        except BaseException:
            await self.close()
            raise
        self._reading.add_done_callback(self._channel_ended)
        log.info("voter runs in a process of its own", extra={"pid": self._child.pid})
        return opened.endpoint

    async def run(self) -> None:
        """Says that this agent lives, and sees that the process does. Until cancelled, or it stopped."""
        silent, heard = 0, 0
        while self._failure is None and self._channel is not None:
            channel = self._channel
            channel.tell(words.BEAT, {})
            await asyncio.sleep(BEAT_S)
            silent = silent + 1 if channel.heard == heard else 0  # looks, not time: see `VoterProcess`
            heard = channel.heard
            if silent >= SILENT_BEATS:
                self._fail(VoterProcessError("the voter's process has been silent for long"))

    async def close(self) -> None:
        """The process has ended when this returns. Twice is the same as once."""
        self._is_closing = True
        channel, self._channel = self._channel, None
        if channel is None:
            return
        self._stop(StoreStoppedError("the store is closed"))
        try:
            async with asyncio.timeout(CLOSE_S):
                await channel.ask(words.CLOSE, {})
        except (FabricError, TimeoutError) as error:
            log.info("voter's process not closed", extra={"reason": str(error)})
        await channel.close()
        for asking in tuple(self._digests_asked.values()):
            asking.cancel()
        if self._reading is not None:
            await asyncio.wait((self._reading,))
        await self._child.end()
        if self._rows is not None:
            await self._rows.close()

    def _channel_ended(self, reading: asyncio.Task[None]) -> None:
        error = None if reading.cancelled() else reading.exception()
        why = "ended" if error is None else f"says what cannot be understood ({error})"
        self._fail(VoterProcessError(f"the voter's process {why}"))

    def _fail(self, error: BaseException) -> None:
        if self._failure is not None or self._is_closing:
            return
        self._stop(error)
        self._on_failure(error)

    def _stop(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            self._waiting.stop(error)

    def _need_channel(self) -> VoterChannel:
        """Raises StoreStoppedError."""
        if self._failure is not None or self._channel is None:
            raise StoreStoppedError(
                f"the store stopped: {self._failure or 'it is closed'}"
            ) from self._failure
        return self._channel

    def _need_status(self) -> VoterStatus:
        """Raises StoreStoppedError."""
        self._need_channel()
        assert self._status is not None, "open first"
        return self._status

    # ---- what users ask

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        return self._listeners.add(listener)

    def watch_lead(self, listener: Callable[[], None]) -> Callable[[], None]:
        self._lead_listeners.append(listener)
        return lambda: self._lead_listeners.remove(listener)

    async def propose(self, command: Command, *, request_id: RequestId) -> Applied:
        """As `VoterEngine.propose`."""
        try:
            body: Body = {"command": encode_command(command), "request_id": request_id}
        except WireError as error:
            raise CommandRejectedError(
                "invalid", f"The request is too large or malformed ({error})."
            ) from error
        return applied_of(cast(Body, await self._ask(words.PROPOSE, body)))

    async def raise_level(self, to: int) -> Applied:
        """As `VoterEngine.raise_level`."""
        return applied_of(cast(Body, await self._ask(words.RAISE_LEVEL, {"to": to})))

    async def read(self, query: Query[T], *, consistency: Consistency = Consistency.SESSION) -> T:
        """As `VoterEngine.read`."""
        self._need_channel()
        assert self._rows is not None, "open first"
        if consistency is Consistency.LINEARIZABLE:
            await self.catch_up()
        return await self._rows.read(query)

    async def catch_up(self) -> None:
        """As `VoterEngine.catch_up`."""
        await self.wait_applied(await self.read_index())

    async def read_index(self) -> LogIndex:
        """As `VoterEngine.read_index`."""
        return LogIndex(cast(int, await self._ask(words.READ_INDEX, {})))

    async def wait_applied(self, index: LogIndex) -> None:
        """Until the rows hold that entry. Raises StoreStoppedError."""
        self._need_channel()
        if self._applied < index:
            if self._halt is not None:
                raise StoreStoppedError(str(self._halt)) from self._halt
            await self._waiting.until(index)

    def transfer(self, to: VoterId) -> None:
        self._tell(words.TRANSFER, {"to": to})

    def change(self, voters: frozenset[VoterId], learners: frozenset[VoterId] = frozenset()) -> None:
        if self._tell(words.CHANGE, {"voters": [*sorted(voters)], "learners": [*sorted(learners)]}):
            self._changes += 1

    def stop(self, error: BaseException) -> None:
        """Stops itself, as after a failed disk: what it holds is not to be trusted."""
        code = error.code if isinstance(error, FabricError) else "fabric.internal"
        self._tell(words.STOP, {"code": code, "message": str(error)[:1_000]})

    # ---- other voters

    def know(self, peers: Sequence[VoterPeer]) -> None:
        """Who may vote, and where; see `fabric.runtime.voter_links`."""
        self._tell(words.PEERS, {"peers": [to_wire(peer) for peer in peers]})

    def relay(self, sender: VoterId, incarnation: int, message: RaftMessage) -> None:
        """Of a voter that lives inside its agent, which sends to this one's."""
        body = raft_body(RaftAddress(sender=sender, to=self.me, incarnation=incarnation), message)
        self._tell(words.FRAME, {"node_id": node_of(sender), "kind": message.KIND, "body": body})

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        """Asks another voter's process, as `fabric.mesh.rpc_contract.Rpc.call`."""
        packed = pack(dict(body), limit=FRAME_BYTES_MAX)
        question: Body = {"node_id": to, "method": method, "body": packed, "timeout_ms": timeout_ms}
        told = cast(Body, await self._ask(words.CALL, question))
        if "code" in told:
            raise RemoteError(str(told["code"]), str(told["message"]), Outcome(str(told["outcome"])))
        return unpack_map(cast(bytes, told["answer"]), limit=FRAME_BYTES_MAX)["value"]

    def incoming_snapshot(self, sender: VoterId) -> Path:
        """As `VoterEngine.incoming_snapshot`."""
        self._need_channel()
        if self._halt is not None:
            raise SnapshotRefusedError(f"the voter has halted: {self._halt}")
        return incoming_file(self._directory / SNAPSHOTS, sender)

    async def receive_snapshot(self, sender: VoterId, term: Term, mark: SnapshotMark, path: Path) -> None:
        """As `VoterEngine.receive_snapshot`."""
        await self._ask(words.SNAPSHOT_ARRIVED, to_wire(snapshot_word(sender, term, mark, path)))

    # ---- the channel

    async def _ask(self, kind: str, body: Body) -> Plain:
        """Raises what the voter raised; StoreBusyError and StoreStoppedError (not done), StoreFailedError
        (unknown)."""
        try:
            return await self._need_channel().ask(kind, body)
        except RemoteError as error:
            raise _known_error(error) from error
        except ChannelBusyError as error:
            raise StoreBusyError(str(error)) from error
        except ChannelClosedError as error:
            raise StoreFailedError(
                "the voter's process ended; what it was asked may have been done"
            ) from error

    def _tell(self, kind: str, body: Body) -> bool:
        if self._failure is not None or self._channel is None:
            return False
        self._channel.tell(kind, body)
        return True

    async def _serve(self, kind: str, body: Body) -> Plain:
        if kind != words.SEND_SNAPSHOT:
            raise WireError("unknown_kind", kind)
        await self._send_snapshot(from_wire(SnapshotWord, body))
        return None

    def _hear(self, kind: str, body: Body) -> None:
        """Raises WireError."""
        match kind:
            case words.ENTRY:
                entry = entry_of(body)
                self._advance(entry.index)
                self._listeners.tell([entry])
            case words.APPLIED:
                self._advance(LogIndex(cast(int, body["index"])))
            case words.STATUS:
                self._take_status(from_wire(VoterStatus, body))
            case words.FAILED:
                log.critical("voter stopped", extra={"error": str(body["message"])[:500]})
                kind_of = _ERRORS.get(str(body["code"]), VoterProcessError)
                self._fail(kind_of(str(body["message"])))
            case _:
                raise WireError("unknown_kind", kind)

    def _advance(self, index: LogIndex) -> None:
        if index > self._applied:
            self._applied = index
            self._waiting.applied(index)

    def _take_status(self, status: VoterStatus) -> None:
        before, self._status = self._status, status
        if before is None or before.configuration != status.configuration:
            self._configuration = status.known_configuration()
        self._status_s = asyncio.get_running_loop().time()
        if status.halt and self._halt is None:
            self._halt = HaltedError(status.halt)
            self._waiting.halt(self._halt)
        self._seen = {VoterId(member): seen for member, seen in status.progress.items()}
        if before is None or _lead(before) != _lead(status):
            for listener in tuple(self._lead_listeners):
                listener()


def _lead(status: VoterStatus) -> tuple[Term, VoterId | None, bool]:
    return status.term, status.leader_id, status.is_leader


def _known_error(error: RemoteError) -> FabricError:
    rejected = rejection_of(error)
    if rejected is not None:
        return rejected
    kind = _ERRORS.get(error.remote_code)
    return error if kind is None else kind(error.message)

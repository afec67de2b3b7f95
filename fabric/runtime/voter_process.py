"""A voter in a process of its own: the engine, its end of the mesh, and the channel to its agent.

Theory. What must never wait for an agent is here: beats, votes, acknowledgements, and the questions other
voters ask the one that leads. It has a mesh endpoint beside the agent's, under the same CURVE key, which only
nodes that may vote are let in to; the agent says who they are and where. Snapshots, which are large and may
wait, stay with the agent, and so does the way in for voters that live inside their agents.

It is nobody without its agent. It ends with it, at once, whichever way that ended; and while it leads and its
agent has said nothing for long, it hands the lead over, for whoever leads must also conduct.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import socket
from collections.abc import Callable
from itertools import count
from pathlib import Path
from random import Random
from typing import cast

from fabric import __version__
from fabric.core.queries import AppliedEntry
from fabric.core.raft.configuration import Configuration, encode_known
from fabric.core.raft.log import SnapshotMark
from fabric.errors import FabricError, Outcome, RemoteError
from fabric.mesh.contract import LinkFact, PeerAddress
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.rpc import MeshRpc
from fabric.mesh.switchboard import Switchboard
from fabric.runtime import logs
from fabric.runtime import voter_words as words
from fabric.runtime.clock import SystemClock
from fabric.runtime.collection import settle
from fabric.runtime.digest_watch import RowsDifferError
from fabric.runtime.log_service import LogService
from fabric.runtime.voter_channel import Body, VoterChannel
from fabric.runtime.voter_fate import disown_if_lost
from fabric.runtime.voter_peers import HeldVoter, MeshPeers
from fabric.runtime.voter_words import (
    Opened,
    Seen,
    SnapshotWord,
    VoterPeer,
    VoterStart,
    VoterStatus,
    applied_body,
    entry_body,
    snapshot_word,
)
from fabric.store.errors import StoreFailedError, StoreLockedError, StoreStoppedError
from fabric.store.program import PROGRAM, Program
from fabric.store.voter_engine import VoterEngine
from proto.codec import FRAME_BYTES_MAX, Plain, pack, unpack_map
from proto.commands import decode_command
from proto.envelope import Envelope
from proto.errors import WireError
from proto.ids import FabricId, LogIndex, NodeId, RequestId, Term, VoterId, node_of
from proto.raft_frames import RaftAddress, read_raft
from proto.records import from_wire, to_wire

log = logging.getLogger(__name__)

TICK_S = 0.5
BEAT_TICKS = 10  # between words to the agent where nothing happens
AGENT_SILENT_TICKS = 20  # 10 s: longer than an interpreter is held, shorter than a person waits
HAND_OVER_TICKS = 4  # between tries, while the agent stays silent
LOCKED_TRIES, LOCKED_S = 100, 0.05  # a former voter's process ends within moments of its agent
PR_SET_PDEATHSIG = 1


class VoterNotOpenedError(FabricError):
    """The voter's process could not open its log, its rows or its mesh endpoint; the message says why."""

    code = "fabric.voters.not_opened"
    outcome = Outcome.NOT_DONE


async def run_voter_process(descriptor: int) -> None:
    """Until the agent, which has the other end of the socket `descriptor`, closes it or ends."""
    for number in (signal.SIGINT, signal.SIGTERM):  # whole groups are told; the agent says when to end
        signal.signal(number, signal.SIG_IGN)
    end_with_parent()
    settle()
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
    await VoterProcess(reader, writer, begin=_begin).run()


def _begin(start: VoterStart) -> None:
    """Raises VoterNotOpenedError."""
    if os.getppid() != start.agent_pid:  # it ended before the kernel was told to end us with it
        raise VoterNotOpenedError("the agent has gone")
    logs.configure(start.log_level, start.log_format)


def end_with_parent() -> None:
    """By the kernel, when this process itself would not notice. Linux, prctl(2)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class ChildRoute:
    """`fabric.runtime.voter_peers.Route` of a voter in its own process: who else there is, the agent says."""

    def __init__(self, switchboard: Switchboard, channel: VoterChannel) -> None:
        self.switchboard = switchboard
        self.snapshots_out = _SnapshotsOut(channel)
        self._known: set[NodeId] = set()
        self._present: HeldVoter | None = None
        switchboard.route("raft", self.on_envelope)
        switchboard.on_link(self._on_link)

    def attach(self, voter: HeldVoter) -> None:
        self._present = voter

    def detach(self, voter: HeldVoter) -> None:
        assert self._present is voter
        self._present = None

    def know(self, peer: VoterPeer) -> None:
        if peer.curve_public:
            self._known.add(peer.node_id)
            self.switchboard.admit(peer.node_id, PeerAddress(peer.endpoint, peer.curve_public))
        else:
            self._known.discard(peer.node_id)
            self.switchboard.expel(peer.node_id)

    def need_voter(self, node_id: NodeId) -> None:
        """Raises WireError `no_conductor`."""
        if node_id not in self._known:
            raise WireError("no_conductor")

    def on_envelope(self, node_id: NodeId, envelope: Envelope) -> None:
        """Raises WireError."""
        if self._present is None:
            raise WireError("no_voter")
        address, message = read_raft(envelope)
        self._present.check(node_id, address)
        self._present.hear(address.sender, message)

    def _on_link(self, node_id: NodeId, fact: LinkFact) -> None:
        if self._present is not None and fact is LinkFact.REFUSED:
            self._present.process_gone(node_id)


class _SnapshotsOut:
    """The agent sends them."""

    def __init__(self, channel: VoterChannel) -> None:
        self._channel = channel

    async def send(self, address: RaftAddress, term: Term, mark: SnapshotMark, path: Path) -> None:
        """Raises RemoteError, ChannelClosedError."""
        word = snapshot_word(address.to, term, mark, path)
        await self._channel.ask(words.SEND_SNAPSHOT, to_wire(word))


class VoterProcess:
    """One voter's life, from its agent's first word to its last."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        *,
        begin: Callable[[VoterStart], None] = lambda start: None,
        program: Program = PROGRAM,
    ) -> None:
        """`begin` is called before anything is opened; what it raises, the agent is told."""
        self._begin = begin
        self._program = program
        self._channel = VoterChannel(reader, writer, serve=self._serve, hear=self._hear)
        self._loops: list[asyncio.Task[None]] = []
        self._engine: VoterEngine | None = None
        self._configuration = Configuration()
        self._configuration_bytes = b""
        self._changes = 0
        self._told: VoterStatus | None = None
        self._heard, self._silent_ticks = 0, 0

    async def run(self) -> None:
        try:
            await self._channel.run()
        finally:
            await self._close()

    async def _close(self) -> None:
        """Twice is the same as once."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops = []
        engine, self._engine = self._engine, None
        if engine is not None:
            self._service.close()
            self._peers.detach()
            await engine.close()
            await self._rpc.close()
            await self._switchboard.close()

    # ---- what the agent asks

    async def _serve(self, kind: str, body: Body) -> Plain:
        if kind == words.START:
            opened: Plain = to_wire(await self._start(from_wire(VoterStart, body)))
            return opened
        if kind == words.CLOSE:
            await self._close()
            return None
        engine = self._need_engine()
        match kind:
            case words.PROPOSE:
                command = decode_command(cast(bytes, body["command"]))
                request_id = RequestId(str(body["request_id"]))
                return applied_body(await engine.propose(command, request_id=request_id))
            case words.RAISE_LEVEL:
                return applied_body(await engine.raise_level(cast(int, body["to"])))
            case words.READ_INDEX:
                return await engine.read_index()
            case words.CALL:
                return await self._call(body)
            case words.DIGEST:
                return engine.digest(LogIndex(cast(int, body["index"])))
            case words.SNAPSHOT_ARRIVED:
                word = from_wire(SnapshotWord, body)
                await engine.receive_snapshot(word.voter, word.term, word.mark(), Path(word.path))
                return None
        raise WireError("unknown_kind", kind)

    async def _call(self, body: Body) -> Plain:
        """Of another voter's process. What that answered, an error too, is passed on as it is."""
        question = unpack_map(cast(bytes, body["body"]))
        timeout_ms = cast(int, body["timeout_ms"])
        try:
            answer = await self._rpc.call(
                NodeId(str(body["node_id"])), str(body["method"]), question, timeout_ms=timeout_ms
            )
        except RemoteError as error:
            return {
                "code": error.remote_code,
                "message": error.message,
                "outcome": str(error.outcome),
            }
        return {"answer": pack({"value": answer}, limit=FRAME_BYTES_MAX)}

    def _need_engine(self) -> VoterEngine:
        """Raises StoreStoppedError."""
        if self._engine is None:
            raise StoreStoppedError("the voter is closed")
        return self._engine

    async def _start(self, start: VoterStart) -> Opened:
        """Raises VoterNotOpenedError, FabricError."""
        assert self._engine is None, "start once"
        if start.software != __version__:
            raise VoterNotOpenedError(
                f"the agent is of version {start.software} and the package is {__version__} by now: "
                "restart the agent"
            )
        self._begin(start)
        transport = RouterDealer(CurveKeyPair(start.curve_public, start.curve_secret), bind=start.bind)
        self._switchboard = Switchboard(transport, FabricId(start.fabric_id))
        self._rpc = MeshRpc(node_of(start.me), self._switchboard)
        self._route = ChildRoute(self._switchboard, self._channel)
        self._peers = MeshPeers(self._route, start.me, incarnation=start.incarnation)
        directory = Path(start.directory)
        engine = VoterEngine(
            directory,
            start.me,
            founders=Configuration(frozenset({start.me})) if start.is_founder else Configuration(),
            clock=SystemClock(),
            rng=Random(),  # noqa: S311  # jitter, not a secret
            peers=self._peers,
            segment_bytes=start.segment_bytes,
            on_failure=lambda error: self._on_failure(error, engine, directory),
            program=self._program,
        )
        await self._switchboard.start()
        try:
            await _open(engine)
        except BaseException:
            await self._switchboard.close()
            raise
        self._engine = engine
        self._service = LogService(engine, self._rpc)
        self._peers.attach(engine)
        engine.subscribe(self._tell_entry)
        engine.watch_lead(self._tell_status)
        self._told = self._status(engine)
        self._loops = [
            asyncio.create_task(self._tell_applied(engine, engine.applied_index), name="applied"),
            asyncio.create_task(self._tick(engine), name="tick"),
        ]
        return Opened(
            endpoint=self._switchboard.endpoint,
            applied_index=engine.applied_index,
            levels=engine.levels,
            status=self._told,
        )

    # ---- what the agent says

    def _hear(self, kind: str, body: Body) -> None:
        """Raises WireError."""
        if kind == words.BEAT or self._engine is None:
            return
        match kind:
            case words.PEERS:
                for peer in cast(list[Plain], body["peers"]):
                    self._route.know(from_wire(VoterPeer, peer))
            case words.FRAME:
                self._relayed(body)
            case words.CHANGE:
                voters, learners = (
                    frozenset(VoterId(str(each)) for each in cast(list[Plain], body[name]))
                    for name in ("voters", "learners")
                )
                self._changes += 1
                self._engine.change(voters, learners)
                self._tell_status()
            case words.TRANSFER:
                self._engine.transfer(VoterId(str(body["to"])))
            case words.STOP:
                message = str(body["message"])
                is_rows = body["code"] == RowsDifferError.code
                self._engine.stop(RowsDifferError(message) if is_rows else StoreFailedError(message))
            case _:
                raise WireError("unknown_kind", kind)

    def _relayed(self, body: Body) -> None:
        """It came in by the agent's endpoint, from a voter that lives inside its agent. What is not for us is
        dropped, as it would be there."""
        envelope = Envelope(str(body["kind"]), cast(dict[str, Plain], body["body"]))
        try:
            self._route.on_envelope(NodeId(str(body["node_id"])), envelope)
        except WireError as error:
            log.debug("frame dropped", extra={"node": body["node_id"], "reason": error.reason})

    # ---- what the agent is told

    def _tell_entry(self, entry: AppliedEntry) -> None:
        self._tell_what_came_with_rows()
        self._channel.tell(words.ENTRY, entry_body(entry))

    async def _tell_applied(self, engine: VoterEngine, told: LogIndex) -> None:
        """Not every entry is told: those of the log's own, rejected ones, what a snapshot brought."""
        while True:
            try:
                await engine.wait_applied(LogIndex(told + 1))
            except StoreStoppedError:
                return
            told = engine.applied_index
            self._tell_what_came_with_rows()
            self._channel.tell(words.APPLIED, {"index": told})

    def _tell_what_came_with_rows(self) -> None:
        """Before those rows: whoever waits for them knows who votes then, the level, and whether entries tell
        of them."""
        engine = self._engine
        if engine is None or engine.failure is not None:
            return
        told = self._told
        is_known = told is not None and (told.level, told.passed_over) == (engine.level, engine.passed_over)
        if not is_known or engine.configuration is not self._configuration:
            self._tell_status()

    def _tell_status(self) -> None:
        if self._engine is None or self._engine.failure is not None:
            return
        self._told = self._status(self._engine)
        self._channel.tell(words.STATUS, to_wire(self._told))

    def _status(self, engine: VoterEngine) -> VoterStatus:
        configuration = engine.configuration
        if configuration is not self._configuration:
            self._configuration = configuration
            self._configuration_bytes = encode_known(configuration)
        return VoterStatus(
            term=engine.term,
            leader_id=engine.leader_id,
            is_leader=engine.is_leader,
            configuration=self._configuration_bytes,
            is_changing=engine.is_changing,
            changes=self._changes,
            heir=engine.furthest_other(),
            progress={
                member: Seen(lag=seen.lag, silent_ms=seen.silent_ms, hanging_ms=seen.hanging_ms)
                for member, seen in engine.progress().items()
            },
            lead_left_ms=engine.lead_left_ms(),
            level=engine.level,
            passed_over=engine.passed_over,
            halt="" if engine.halt is None else str(engine.halt),
        )

    def _on_failure(self, error: BaseException, engine: VoterEngine, directory: Path) -> None:
        """Here and not by the agent: it may hang, and be ended before it heard."""
        disown_if_lost(directory, error, engine.me, engine.last_configuration)
        code = error.code if isinstance(error, FabricError) else "fabric.internal"
        self._channel.tell(words.FAILED, {"code": code, "message": str(error)[:1_000]})

    async def _tick(self, engine: VoterEngine) -> None:
        """Until cancelled, or the voter stopped itself."""
        for tick in count():
            await asyncio.sleep(TICK_S)
            if engine.failure is not None:
                break
            is_due = engine.is_leader or tick % BEAT_TICKS == 0
            if is_due or self._status(engine) != self._told:
                self._tell_status()
            self._look_for_agent(engine)

    def _look_for_agent(self, engine: VoterEngine) -> None:
        """Counted in looks, not in time: after a pause of the whole machine nobody was silent."""
        is_silent = self._channel.heard == self._heard
        self._heard = self._channel.heard
        self._silent_ticks = self._silent_ticks + 1 if is_silent else 0
        late = self._silent_ticks - AGENT_SILENT_TICKS
        heir = engine.furthest_other()
        if late >= 0 and late % HAND_OVER_TICKS == 0 and heir is not None:
            log.warning("the agent is silent: handing the lead over", extra={"to": heir})
            engine.transfer(heir)


async def _open(engine: VoterEngine) -> None:
    """Raises VoterNotOpenedError, FabricError."""
    for tries_left in reversed(range(LOCKED_TRIES)):
        try:
            await engine.open()
            return
        except StoreLockedError:
            if not tries_left:
                raise
            await asyncio.sleep(LOCKED_S)
        except FabricError:
            raise
        except Exception as error:  # a disk's, or SQLite's: told to whoever starts the agent, as its own
            raise VoterNotOpenedError(f"{type(error).__name__}: {error}") from error

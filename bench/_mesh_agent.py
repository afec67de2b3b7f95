"""The mesh part of an agent as a process of its own: membership core, loop, switchboard, CURVE transport,
watchdog, state directory. What `fabric.agent` has beside them (rows, API, guests) is not here.

    python -m bench._mesh_agent DIRECTORY ADDRESS SETTINGS   with its channel, a socket, as standard input

The channel carries lines. Out: "NANOSECONDS KIND DETAIL SUBJECT", stamped when this agent came to know it.
In: "go" (take part), "admit PATH" (the authority let these in), "publish TOKEN BYTES", "loads RATE SECONDS
BYTES", "report", "stall MS" (holds the interpreter), "profile FILE" and "profile" (begin and end).
"""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import json
import logging
import secrets
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random

import msgpack

from bench._knowledge import Kind
from bench._mesh_identities import MESH_PORT, machine_of
from fabric.core.membership.config import MembershipConfig
from fabric.core.membership.events import Effect, Event, Received
from fabric.core.membership.membership import Membership
from fabric.core.membership.model import Capacity, Member, MemberState, NodeRecord
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.router_dealer import RouterDealer
from fabric.mesh.switchboard import Switchboard
from fabric.runtime.authority import NodeTrust
from fabric.runtime.clock import SystemClock
from fabric.runtime.membership_loop import MembershipLoop
from fabric.runtime.node_identity import load_membership, load_or_create, new_boot_id, next_epoch
from fabric.runtime.peers_file import load_peers
from fabric.runtime.watchdog import LoopWatchdog
from proto.ids import NodeId
from proto.membership import LoadState, State

LATE_S = 2.0  # an update that takes longer to arrive has not kept up
LOAD_OVERHEAD_BYTES = 220  # the numbers of a load, its keys, and the envelope
LABEL_CHARS = 200  # a label may have 256 characters
# What loads are said with, too: another inventory would be a new record, signed, with each first load.
CAPACITY = Capacity(vcpus=4, memory_mb=8192, disk_gb=100, hypervisor="none")
KIND_OF = {
    MemberState.ALIVE: Kind.ALIVE,
    MemberState.STALLED: Kind.STALLED,
    MemberState.SUSPECT: Kind.SUSPECT,
    MemberState.AGENT_DOWN: Kind.DOWN,
    MemberState.HOST_DOWN: Kind.DOWN,
    MemberState.LEAVING: Kind.GONE,
    MemberState.LEFT: Kind.GONE,
    MemberState.FORGOTTEN: Kind.GONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What an agent heard of others' loads since it was last asked. A newer load covers those it replaced."""

    in_time: int = 0
    late: int = 0
    came: int = 0  # that came themselves
    mean_s: float = 0.0  # of those
    slowest_s: float = 0.0  # covered ones too


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An agent's own books."""

    loads: Tally
    counters: dict[str, int]
    dropped: dict[str, int]
    refused: dict[str, int]
    awareness: int
    links: int
    lag_max_ms: int

    @classmethod
    def read(cls, text: str) -> Report:
        plain = json.loads(text)
        return cls(**(plain | {"loads": Tally(**plain["loads"])}))


class LoadListener:
    """Which loads came, and how long after they were said. The sayer's clock is ours: one machine."""

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._newest: dict[tuple[str, str], int] = {}  # (sayer, its series) -> number
        self._delays_s: list[float] = []
        self._covered_s: list[float] = []

    def take(self, load: LoadState) -> None:
        extra = msgpack.unpackb(load.body).get("extra")  # the core has checked it
        if load.node_id == self._me or not extra or "series" not in extra:
            return
        key, number = (load.node_id, str(extra["series"])), int(str(extra["number"]))
        newest = self._newest.get(key, -1)
        if number <= newest:
            return
        self._newest[key] = number
        delay_s = (time.monotonic_ns() - int(str(extra["said"]))) / 1e9
        every_s = int(str(extra["every"])) / 1e9
        self._delays_s.append(delay_s)
        self._covered_s += [delay_s + every_s * back for back in range(1, number - newest)]

    def tally(self) -> Tally:
        """Starts anew afterwards."""
        came, covered = self._delays_s, self._covered_s
        self._delays_s, self._covered_s = [], []
        if not came:
            return Tally()
        known = came + covered
        in_time = sum(delay <= LATE_S for delay in known)
        return Tally(
            in_time=in_time,
            late=len(known) - in_time,
            came=len(came),
            mean_s=sum(came) / len(came),
            slowest_s=max(known),
        )


class HeardMembership(Membership):
    """The core, and which loads came in: nobody is notified of a load, so this is the place to hear it."""

    listener: LoadListener

    def handle(self, event: Event, now_ms: int, now_us: int | None = None) -> list[Effect]:
        if type(event) is Received and type(event.message) is State:
            for load in event.message.loads:
                self.listener.take(load)
        return super().handle(event, now_ms, now_us)


class Channel(asyncio.Protocol):
    """Lines to and from the benchmark. Its end is the agent's end."""

    def __init__(self, agent: MeshAgent) -> None:
        self._agent = agent
        self._rest = b""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def tell(self, kind: Kind, subject: str = "", *, detail: str = "") -> None:
        assert self.transport is not None
        self.transport.write(f"{time.monotonic_ns()} {kind} {detail} {subject}\n".encode())

    def data_received(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._agent.obey(line.decode().split())

    def connection_lost(self, error: Exception | None) -> None:
        self._agent.over.set()


class MeshAgent:
    def __init__(
        self, directory: Path, address: str, settings: Mapping[str, int], channel: socket.socket
    ) -> None:
        self._directory = directory
        self._address = address
        self._settings = settings
        self._socket = channel
        self._channel = Channel(self)
        self._records: dict[str, str] = {}  # node -> its latest token
        self._profile: tuple[cProfile.Profile, str] | None = None
        self._going: asyncio.Task[None] | None = None
        self._loading: asyncio.Task[None] | None = None
        self.over = asyncio.Event()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self._channel, sock=self._socket)
        self._watchdog = LoopWatchdog()
        self._watchdog.start()
        self._build()
        self._channel.tell(Kind.UP)
        await self.over.wait()

    def _build(self) -> None:
        identity = load_or_create(self._directory)
        self._listener = LoadListener(identity.node_id)
        member = load_membership(self._directory)
        assert member is not None
        clock = SystemClock()
        endpoint = f"tcp://{self._address}:{MESH_PORT}"
        transport = RouterDealer(CurveKeyPair(identity.curve_public, identity.curve_secret), bind=endpoint)
        self._board = Switchboard(transport, member.fabric_id)
        record = NodeRecord(
            node_id=identity.node_id,
            name=self._directory.name,
            endpoint=endpoint,
            curve_public=identity.curve_public,
            certificate=member.certificate,
            epoch=next_epoch(self._directory),
            version=1,
            zone="nova",
            software="bench",
            boot_id=new_boot_id(),
            inventory=CAPACITY.inventory,
        )
        trust = NodeTrust(
            identity, root_public=member.root_public, fabric_id=member.fabric_id, now_ms=clock.wall_ms
        )
        self._core = HeardMembership(record, MembershipConfig(**self._settings), Random(), trust)
        self._core.listener = self._listener
        self._fleet = MembershipLoop(self._core, self._board, clock, self._directory)
        self._fleet.watch(self._on_member)

    async def _go(self) -> None:
        await self._board.start()
        self._fleet.start()

    def _admit(self, directory: Path) -> None:
        for state in load_peers(directory)[0]:
            self._fleet.admit(state)

    def _on_member(self, member: Member, before: MemberState | None) -> None:
        machine = str(machine_of(member.record.name))
        if member.state is not before:
            self._channel.tell(KIND_OF[member.state], machine, detail=member.state.value)
        token = member.record.labels.get("token")
        if token is not None and self._records.get(machine) != token:
            self._records[machine] = token
            self._channel.tell(Kind.RECORD, token)

    def obey(self, words: list[str]) -> None:
        match words:
            case ["go"]:
                self._going = asyncio.create_task(self._go())
                self._going.add_done_callback(lambda task: task.result())
            case ["admit", path]:
                assert self._going is not None
                self._going.add_done_callback(lambda task: self._admit(Path(path)))
            case ["publish", token, size]:
                self._publish(token, int(size))
            case ["loads", rate, seconds, size]:
                self._loading = asyncio.create_task(self._say_loads(float(rate), float(seconds), int(size)))
            case ["report"]:
                self._channel.tell(Kind.REPORT, self._report())
            case ["stall", ms]:
                ctypes.PyDLL(None).usleep(int(ms) * 1_000)  # PyDLL, unlike CDLL, keeps the interpreter locked
            case ["profile", path]:
                self._profile = (cProfile.Profile(time.thread_time), path)  # CPU, not waiting
                self._profile[0].enable()
            case ["profile"]:
                assert self._profile is not None
                self._profile[0].disable()
                self._profile[0].dump_stats(self._profile[1])
            case _:
                raise ValueError(f"no such order: {words}")

    def _publish(self, token: str, size: int) -> None:
        text = secrets.token_hex(size // 2)
        parts = [text[at : at + LABEL_CHARS] for at in range(0, len(text), LABEL_CHARS)]
        self._fleet.publish(labels={"token": token} | {f"part{i}": part for i, part in enumerate(parts)})

    async def _say_loads(self, rate: float, seconds: float, size: int) -> None:
        """`rate` a second, from a random moment of the first period on."""
        text = secrets.token_hex((size - LOAD_OVERHEAD_BYTES) // 2)
        loop = asyncio.get_running_loop()
        began = loop.time() + Random().uniform(0, 1 / rate)
        for number in range(round(rate * seconds)):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            said = {
                "series": str(began),
                "number": str(number),
                "said": str(time.monotonic_ns()),
                "every": str(round(1e9 / rate)),
                "text": text,
            }
            self._fleet.publish(capacity=replace(CAPACITY, load_milli=number), extra=said)

    def _report(self) -> str:
        report = Report(
            loads=self._listener.tally(),
            counters=dict(self._fleet.counters),
            dropped={**self._board.dropped(), **self._fleet.dropped()},
            refused=dict(self._fleet.refused),
            awareness=self._fleet.awareness,
            links=len(self._fleet.links()),
            lag_max_ms=self._watchdog.lag.max_ms,
        )
        return json.dumps(asdict(report))


def run(directory: Path, address: str, settings: Mapping[str, int], channel: socket.socket) -> None:
    logging.basicConfig(filename=directory / "log", level=logging.INFO, format="%(asctime)s %(message)s")

    async def main() -> None:
        await MeshAgent(directory, address, settings, channel).run()

    asyncio.run(main())


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), socket.socket(fileno=0))

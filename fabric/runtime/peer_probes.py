"""What nodes ask each other when an operator wants to know: an echo, and "how do you see this node?".

Both are methods any member may call (SPEC section 5), so both are cheap, bounded in size and bounded in rate:
a mistaken loop on one node must not cost another its heartbeats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter_ns

from fabric.errors import Outcome, RemoteError
from fabric.mesh.contract import LinkFact
from fabric.mesh.probe import probe
from fabric.mesh.rpc_contract import Rpc
from fabric.runtime.clock import Clock
from fabric.runtime.mesh_view import MeshView, is_cut_off
from proto.codec import Plain
from proto.ids import NodeId
from proto.membership import Finding

ECHO = "mesh.echo"
SEEN = "mesh.seen"
ECHO_BYTES_MAX = 64 * 1024
ASKED_PER_S = 50  # of one peer: `fabric ping -i 0.02` fits, a busy loop does not
ASKED_BURST = 100
BYTES_PER_S = 4 << 20  # of one peer: what a gigabit link spends in 3 % of a second
BYTES_BURST = 1 << 20
PEERS_REMEMBERED_MAX = 4_096
TEXT_CHARS_MAX = 64
MISUSED = "fabric.mesh.bad_request"
BUSY = "fabric.mesh.busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """One round trip. `clock_ahead_ms`: the peer's wall clock minus ours at half time, true to half of it."""

    rtt_us: int
    size: int
    clock_ahead_ms: int
    lag_ms: int  # how late the peer's event loop is


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a peer believes of the node asked about, and of itself. Everything in it is the peer's claim."""

    state: str  # "" when the peer does not know that node
    age_ms: int  # since the peer had evidence of its life
    is_linked: bool  # neighbours in the active view
    is_up: bool  # the peer's half of the link carries frames
    is_bad: bool
    epoch: int
    root: bytes
    members: int
    is_isolated: bool
    door: str  # the peer's join door, "" when it has none


@dataclass(slots=True)
class _Allowance:
    asked: float
    size: float
    at_ms: int


class PeerProbes:
    """Serves both methods from the moment it is made, and asks others."""

    def __init__(
        self,
        rpc: Rpc,
        view: MeshView,
        clock: Clock,
        *,
        lag_ms: Callable[[], int],
        door: Callable[[], str] = lambda: "",
    ) -> None:
        self._rpc = rpc
        self._view = view
        self._clock = clock
        self._lag_ms = lag_ms
        self._door = door
        self._allowances: dict[NodeId, _Allowance] = {}
        rpc.serve(ECHO, self._on_echo)
        rpc.serve(SEEN, self._on_seen)

    # -- asking

    async def echo(self, to: NodeId, size: int, *, timeout_ms: int) -> Echo:
        """`size` bytes there and back. Raises what `Rpc.call` raises, and RemoteError for a wrong answer."""
        data = bytes(size)
        left_ms, left_ns = self._clock.wall_ms(), perf_counter_ns()
        answer = await self._rpc.call(to, ECHO, {"data": data}, timeout_ms=timeout_ms)
        rtt_us = (perf_counter_ns() - left_ns) // 1_000
        body = _map(answer)
        if body.get("data") != data:
            raise _bad_answer("the echo is not what was sent")
        half_time_ms = left_ms + rtt_us // 2_000
        return Echo(
            rtt_us=rtt_us,
            size=size,
            clock_ahead_ms=_whole(body, "wall_ms") - half_time_ms,
            lag_ms=_whole(body, "lag_ms"),
        )

    async def seen(self, to: NodeId, about: NodeId, *, timeout_ms: int) -> Seen:
        """Raises what `Rpc.call` raises, and RemoteError for a wrong answer."""
        body = _map(await self._rpc.call(to, SEEN, {"node_id": about}, timeout_ms=timeout_ms))
        root = body.get("root")
        if not isinstance(root, bytes) or len(root) > TEXT_CHARS_MAX:
            raise _bad_answer("root")
        return Seen(
            state=_text(body, "state"),
            age_ms=_whole(body, "age_ms"),
            is_linked=body.get("is_linked") is True,
            is_up=body.get("is_up") is True,
            is_bad=body.get("is_bad") is True,
            epoch=_whole(body, "epoch"),
            root=root,
            members=_whole(body, "members"),
            is_isolated=body.get("is_isolated") is True,
            door=_text(body, "door"),
        )

    async def knock(self, endpoint: str, *, timeout_ms: int) -> Finding:
        """One bare TCP connection: does the machine answer there, and does anybody listen?"""
        fact = await probe(endpoint, timeout_ms=timeout_ms)
        if fact is LinkFact.UP:
            return Finding.REACHABLE
        return Finding.REFUSED if fact is LinkFact.REFUSED else Finding.SILENT

    # -- answering

    async def _on_echo(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        data = body.get("data")
        if not isinstance(data, bytes) or len(data) > ECHO_BYTES_MAX:
            raise RemoteError(MISUSED, f"data: bytes, at most {ECHO_BYTES_MAX}", Outcome.NOT_DONE)
        self._allow(sender, len(data))
        return {"data": data, "wall_ms": self._clock.wall_ms(), "lag_ms": self._lag_ms()}

    async def _on_seen(self, sender: NodeId, body: Mapping[str, Plain]) -> Plain:
        about = body.get("node_id", sender)
        if not isinstance(about, str):
            raise RemoteError(MISUSED, "node_id: text", Outcome.NOT_DONE)
        self._allow(sender, 0)
        view, node_id = self._view, NodeId(about)
        member = view.member(node_id)
        link = next((link for link in view.links() if link.node_id == node_id), None)
        age_ms = 0 if member is None else max(0, self._clock.monotonic_ms() - member.heard_ms)
        return {
            "state": "" if member is None else member.state.value,
            "age_ms": age_ms,
            "is_linked": link is not None,
            "is_up": link is not None and link.is_up,
            "is_bad": link is not None and link.is_bad,
            "epoch": 0 if member is None else int(member.record.epoch),
            "root": view.root,
            "members": len(view.members()),
            "is_isolated": is_cut_off(view),
            "door": self._door(),
        }

    def _allow(self, sender: NodeId, size: int) -> None:
        """Two token buckets a peer. Raises RemoteError `fabric.mesh.busy` when either is empty."""
        now_ms = self._clock.monotonic_ms()
        allowance = self._allowances.get(sender)
        if allowance is None:
            if len(self._allowances) >= PEERS_REMEMBERED_MAX:
                self._allowances.clear()  # a burst each is all that a forgotten past can give
            allowance = self._allowances[sender] = _Allowance(ASKED_BURST, BYTES_BURST, now_ms)
        passed_s = max(0, now_ms - allowance.at_ms) / 1_000
        allowance.asked = min(ASKED_BURST, allowance.asked + passed_s * ASKED_PER_S)
        allowance.size = min(BYTES_BURST, allowance.size + passed_s * BYTES_PER_S)
        allowance.at_ms = now_ms
        if allowance.asked < 1 or allowance.size < size:
            raise RemoteError(BUSY, "too many echoes asked of this node; slow down", Outcome.NOT_DONE)
        allowance.asked -= 1
        allowance.size -= size


def _map(answer: Plain) -> Mapping[str, Plain]:
    if not isinstance(answer, dict):
        raise _bad_answer("not a map")
    return answer


def _whole(body: Mapping[str, Plain], name: str) -> int:
    value = body.get(name)
    if type(value) is not int or value < 0:
        raise _bad_answer(name)
    return value


def _text(body: Mapping[str, Plain], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or len(value) > TEXT_CHARS_MAX:
        raise _bad_answer(name)
    return value


def _bad_answer(what: str) -> RemoteError:
    return RemoteError("fabric.mesh.bad_answer", f"the peer's answer makes no sense: {what}")

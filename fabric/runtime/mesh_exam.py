"""What `fabric doctor mesh` looks at: facts about this node and its peers, without any opinion.

Everything runs in parallel under one deadline, and what is not known when it passes stays None: a node that
is cut off is answered as quickly as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from fabric.core.membership.model import LinkView, Member, MemberState
from fabric.errors import FabricError, RemoteError
from fabric.runtime.clock import Clock
from fabric.runtime.mesh_view import MeshView, is_cut_off
from fabric.runtime.peer_probes import Echo, PeerProbes, Seen
from proto.certificate import decode_signed, parse_certificate_body
from proto.errors import WireError
from proto.ids import NodeId
from proto.membership import Finding

T = TypeVar("T")

DEADLINE_MS = 10_000
PEERS_MAX = 64  # looked at in one examination; the troubled and the neighbours first
AT_ONCE_MAX = 16  # more would measure our own queue
KNOCK_TIMEOUT_MS = 800
SMALL_BYTES = 64
SMALL_TIMEOUT_MS = 1_500
LARGE_BYTES = 32 * 1024  # more than any path's packet, tunnels and jumbo frames included
LARGE_TIMEOUT_MS = 2_000
ASKED_ABOUT_MAX = 3  # third nodes asked about a peer that does not answer
ROOT_ROUNDS = 4  # roots differ for a moment after every change: only those that never meet count
ROOT_PAUSE_S = 0.7  # four of them outlast the 2 s after which neighbours compare by themselves
LISTEN_TO_MS = 12_000
LISTEN_MS = 6_000  # of two who cannot link, one asks for a link or looks at the other every 5 s
LISTEN_PAUSE_S = 0.2
TWIN_MS = 60_000  # two owners of one identity outbid each other within seconds, until one ends
UNEXAMINED_STATES = frozenset({MemberState.LEAVING, MemberState.LEFT, MemberState.FORGOTTEN})


@dataclass(slots=True, kw_only=True)
class PeerExam:
    """Filled while the examination runs. None: not looked at, or not in time."""

    member: Member
    age_ms: int  # since this node had evidence of the peer's life
    spoke_age_ms: int | None  # since the peer said something to this node itself; None: never
    has_spoken_since: bool = False  # ... and it did while we examined it, without answering
    link: LinkView | None
    expires_ms: int | None  # wall; its certificate's end
    knock: Finding | None = None
    echo: Echo | None = None
    echo_error: str = ""  # code of what went wrong instead
    large: Echo | None = None
    large_error: str = ""
    seen: Seen | None = None  # how it sees us
    is_root_equal: bool | None = None  # its table's hash equals ours, now or in one of the looks
    others: dict[str, str] = field(default_factory=dict)  # third node's name -> what it believes of the peer

    @property
    def node_id(self) -> NodeId:
        return self.member.record.node_id

    @property
    def name(self) -> str:
        return self.member.record.name

    @property
    def has_answered(self) -> bool:
        """It is reached and reaches us, whatever it said."""
        return self.echo is not None or (self.echo_error != "" and self.seen is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A join door some node told of."""

    owner: str
    endpoint: str
    knock: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    """A node whose identity two processes were seen to use lately."""

    name: str
    endpoints: tuple[str, str]
    age_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MeshExam:
    me: Member
    wall_ms: int
    expires_ms: int | None
    listening: Finding | None  # what this node's own mesh port answers to itself
    is_isolated: bool
    awareness: int
    lag_ms: int
    root: bytes
    members: int
    dropped_lately: Mapping[str, int]  # reason -> how long ago, in milliseconds
    strangers: Mapping[str, int]  # address -> connections refused because their key is not admitted
    former: Mapping[str, int]  # whose former key was refused lately -> how long ago, in milliseconds
    refused: Mapping[str, int]
    twins: tuple[Twin, ...]
    leaving: tuple[str, ...]  # stopped on purpose a moment ago, and not examined
    doors: tuple[Door, ...]
    peers: tuple[PeerExam, ...]
    left_out: int  # members there was no room to look at
    is_whole: bool  # False: the deadline came first
    took_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamSources:
    """What of this node the examination reads."""

    view: MeshView
    probes: PeerProbes
    clock: Clock
    lag_ms: Callable[[], int]
    dropped_lately: Callable[[], Mapping[str, int]]
    strangers: Callable[[], Mapping[str, int]] = dict
    former: Callable[[], Mapping[NodeId, int]] = dict
    door: Callable[[], str] = str  # this node's own join door, "" when it has none


async def examine(
    sources: ExamSources,
    only: Sequence[NodeId] = (),
    *,
    deadline_ms: int = DEADLINE_MS,
    rng: Random | None = None,
) -> MeshExam:
    """Never raises for what a peer does or does not. `only`: these peers, else the troubled ones, then the
    neighbours, then others by chance."""
    view, clock = sources.view, sources.clock
    begun_ms = clock.monotonic_ms()
    chosen, left_out = _choose(view, only, rng or Random())  # noqa: S311  # a sample, not a secret
    links = {link.node_id: link for link in view.links()}
    peers = tuple(
        PeerExam(
            member=member,
            age_ms=max(0, begun_ms - member.heard_ms),
            spoke_age_ms=None if member.spoke_ms is None else max(0, begun_ms - member.spoke_ms),
            link=links.get(member.record.node_id),
            expires_ms=expiry_of(member.record.certificate),
        )
        for member in chosen
    )
    me = view.member(view.me)
    assert me is not None, "a node knows itself"
    listening: list[Finding] = []
    doors: list[Door] = []
    is_whole = True
    try:
        async with asyncio.timeout(deadline_ms / 1_000):
            await asyncio.gather(
                _examine_all(sources, peers),
                _knock_at_self(sources, me.record.endpoint, listening),
            )
            await asyncio.gather(
                _look_again_at_roots(sources, peers),
                _ask_others(sources, peers),
                _listen(sources, peers, begun_ms),
                _knock_at_doors(sources, peers, doors),
            )
    except TimeoutError:
        is_whole = False
    return MeshExam(
        me=me,
        wall_ms=clock.wall_ms(),
        expires_ms=expiry_of(me.record.certificate),
        listening=listening[0] if listening else None,
        is_isolated=is_cut_off(view),
        awareness=view.awareness,
        lag_ms=sources.lag_ms(),
        root=view.root,
        members=len(view.members()),
        dropped_lately=sources.dropped_lately(),
        strangers=sources.strangers(),
        former={_name(view, node_id): age_ms for node_id, age_ms in sources.former().items()},
        refused=dict(view.refused),
        twins=_twins(view, clock.monotonic_ms()),
        leaving=tuple(m.record.name for m in view.members() if m.state is MemberState.LEAVING),
        doors=tuple(doors),
        peers=peers,
        left_out=left_out,
        is_whole=is_whole,
        took_ms=clock.monotonic_ms() - begun_ms,
    )


def _twins(view: MeshView, now_ms: int) -> tuple[Twin, ...]:
    return tuple(
        Twin(
            name=member.record.name,
            endpoints=(member.record.endpoint, member.rival_endpoint),
            age_ms=now_ms - member.rival_ms,
        )
        for member in view.members()
        if member.rival_ms is not None and now_ms - member.rival_ms <= TWIN_MS
    )


def _name(view: MeshView, node_id: NodeId) -> str:
    member = view.member(node_id)
    return f"removed node {node_id[:12]}" if member is None else member.record.name


def expiry_of(certificate: bytes) -> int | None:
    """When a certificate ends, wall; None when it cannot be read. Nothing is proven here."""
    try:
        return parse_certificate_body(decode_signed(certificate).body).not_after_ms
    except WireError:
        return None


def _choose(view: MeshView, only: Sequence[NodeId], rng: Random) -> tuple[list[Member], int]:
    others = [member for member in view.members() if member.record.node_id != view.me]
    if only:
        return [member for member in others if member.record.node_id in only], 0
    here = [member for member in others if member.state not in UNEXAMINED_STATES]
    rng.shuffle(here)
    here.sort(key=lambda member: (member.state is MemberState.ALIVE, not member.is_linked))
    chosen = here[:PEERS_MAX]
    return sorted(chosen, key=lambda member: member.record.name), len(here) - len(chosen)


async def _examine_all(sources: ExamSources, peers: Iterable[PeerExam]) -> None:
    room = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(peer: PeerExam) -> None:
        async with room:
            await asyncio.gather(_knock(sources, peer), _echo(sources, peer), _see(sources, peer))
            if peer.echo is not None:
                await _echo_large(sources, peer)

    await asyncio.gather(*(one(peer) for peer in peers))


async def _knock(sources: ExamSources, peer: PeerExam) -> None:
    peer.knock = await sources.probes.knock(peer.member.record.endpoint, timeout_ms=KNOCK_TIMEOUT_MS)


async def _echo(sources: ExamSources, peer: PeerExam) -> None:
    """The better of two: the first may have had to make the link."""
    for _ in range(2):
        echo, peer.echo_error = await _asked(
            sources.probes.echo(peer.node_id, SMALL_BYTES, timeout_ms=SMALL_TIMEOUT_MS)
        )
        if echo is None:
            return
        if peer.echo is None or echo.rtt_us < peer.echo.rtt_us:
            peer.echo = echo


async def _echo_large(sources: ExamSources, peer: PeerExam) -> None:
    """Twice before it counts: one may be lost to a busy moment."""
    for _ in range(2):
        peer.large, peer.large_error = await _asked(
            sources.probes.echo(peer.node_id, LARGE_BYTES, timeout_ms=LARGE_TIMEOUT_MS)
        )
        if peer.large is not None:
            return


async def _see(sources: ExamSources, peer: PeerExam) -> None:
    view = sources.view
    seen, _ = await _asked(sources.probes.seen(peer.node_id, view.me, timeout_ms=SMALL_TIMEOUT_MS))
    if seen is not None:
        peer.seen = seen
        peer.is_root_equal = peer.is_root_equal or seen.root == view.root


async def _look_again_at_roots(sources: ExamSources, peers: Iterable[PeerExam]) -> None:
    for _ in range(ROOT_ROUNDS - 1):
        unequal = [peer for peer in peers if peer.is_root_equal is False]
        if not unequal:
            return
        await asyncio.sleep(ROOT_PAUSE_S)
        await asyncio.gather(*(_see(sources, peer) for peer in unequal))


async def _ask_others(sources: ExamSources, peers: Sequence[PeerExam]) -> None:
    """What nodes that do answer believe of those that do not."""
    witnesses = [peer for peer in peers if peer.echo is not None][:ASKED_ABOUT_MAX]
    silent = [peer for peer in peers if not peer.has_answered]

    async def ask(witness: PeerExam, about: PeerExam) -> None:
        seen, _ = await _asked(
            sources.probes.seen(witness.node_id, about.node_id, timeout_ms=SMALL_TIMEOUT_MS)
        )
        if seen is not None and seen.state:
            about.others[witness.name] = seen.state

    await asyncio.gather(*(ask(witness, about) for witness in witnesses for about in silent))


async def _listen(sources: ExamSources, peers: Iterable[PeerExam], begun_ms: int) -> None:
    """Whether those that do not answer are heard all the same. Only who spoke a moment ago is waited for."""
    view, clock = sources.view, sources.clock
    awaited = [
        peer
        for peer in peers
        if not peer.has_answered
        and peer.knock is not Finding.REACHABLE
        and peer.spoke_age_ms is not None
        and peer.spoke_age_ms <= LISTEN_TO_MS
    ]
    until_ms = clock.monotonic_ms() + LISTEN_MS
    while awaited and clock.monotonic_ms() < until_ms and not is_cut_off(view):
        for peer in awaited:
            member = view.member(peer.node_id)
            if member is not None and member.spoke_ms is not None and member.spoke_ms > begun_ms:
                peer.has_spoken_since = True
                peer.spoke_age_ms = clock.monotonic_ms() - member.spoke_ms
        awaited = [peer for peer in awaited if not peer.has_spoken_since]
        await asyncio.sleep(LISTEN_PAUSE_S if awaited else 0)


async def _knock_at_self(sources: ExamSources, endpoint: str, found: list[Finding]) -> None:
    found.append(await sources.probes.knock(endpoint, timeout_ms=KNOCK_TIMEOUT_MS))


async def _knock_at_doors(sources: ExamSources, peers: Iterable[PeerExam], doors: list[Door]) -> None:
    told = [(peer.name, peer.seen.door) for peer in peers if peer.seen is not None and peer.seen.door]
    own = sources.view.member(sources.view.me)
    if sources.door() and own is not None:
        told.append((own.record.name, sources.door()))
    for owner, endpoint in told:
        knock = await sources.probes.knock(endpoint, timeout_ms=KNOCK_TIMEOUT_MS)
        doors.append(Door(owner=owner, endpoint=endpoint, knock=knock))


async def _asked(asking: Awaitable[T]) -> tuple[T | None, str]:
    """The answer, or the code of what went wrong."""
    try:
        return await asking, ""
    except RemoteError as error:
        return None, error.remote_code
    except FabricError as error:
        return None, error.code

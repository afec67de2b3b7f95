"""Findings about this node and the fabric as it sees it: clocks, certificates, ports, strangers. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from fabric.control.diagnosis import Diagnosis, Severity
from fabric.control.doctor_peers import LAG_WARNING_MS, UNLINKED_CODE
from fabric.runtime.level_watch import HALTED_LABEL
from fabric.runtime.mesh_exam import Door, MeshExam, PeerExam
from fabric.runtime.renaming import NAME_WANTED_LABEL
from proto.membership import Finding

SKEW_WARNING_MS = 1_000
SKEW_ERROR_MS = 12 * 3_600_000  # half of what certificates forgive (authority.CLOCK_SKEW_MS)
DAY_MS = 86_400_000
EXPIRY_WARNING_MS = 14 * DAY_MS
EXPIRY_ERROR_MS = 2 * DAY_MS
LAG_ERROR_MS = 2_000
AWARENESS_WARNING = 3  # of 8: one missed probe is nothing
STRANGERS_SHOWN_MAX = 5

_UNREADABLE = (  # reasons of WireError about frames (proto)
    "bad_field",
    "bad_kind",
    "frame_too_long",
    "malformed",
    "not_a_map",
    "not_an_envelope",
    "not_one_frame",
    "too_deep",
    "too_many",
    "unknown_kind",
    "unpackable",
)
_OLDER = "agents of different versions meet: `fabric members` shows VERSION; upgrade the older ones"
_DROPPED = {
    "wrong_fabric": (
        "frames of another fabric arrive at this node",
        "two fabrics use the same addresses: stop the agent that does not belong here, or give it "
        "another mesh.port",
    ),
    "key_not_admitted": (
        "somebody whose key is not admitted knocks at this node's mesh port{strangers}",
        "a node whose keys were rotated a moment ago (nothing to do: this ends within a minute), a removed "
        "node that still runs (stop its agent there), a node of another fabric, or a node that joined and of "
        "which this node has not heard: then `fabric members` differs between nodes",
    ),
    "forged": (
        "somebody takes this node for another: connections arrive under keys it does not have",
        "another fabric's node had this address before, and its members still dial it: `fabric node "
        "remove` the old one there. If no such fabric exists, somebody tries keys: close the port to them",
    ),
    "replayed": (
        "messages arrive a second time on an encrypted connection",
        "something between the two machines repeats packets, by fault or on purpose: look at what is in "
        "the way. They are thrown away",
    ),
    "unknown_version": ("frames of an unknown wire version arrive", _OLDER),
    **dict.fromkeys(
        _UNREADABLE,
        (
            "frames arrive that cannot be read",
            "their sender is broken or of another version: `fabric members` shows VERSION; level = "
            '"DEBUG" in [log] names it',
        ),
    ),
}


def node_diagnoses(exam: MeshExam) -> Iterator[Diagnosis]:
    yield from _admission(exam)
    yield from _isolation(exam)
    yield from _ports(exam)
    yield from _load(exam)
    yield from _clocks(exam)
    yield from _certificates(exam)
    yield from _strangers(exam)
    yield from _versions(exam)
    yield from _twins(exam)
    yield from _names(exam)
    yield from _leaving(exam)
    yield from _halted(exam)
    if not exam.is_whole:
        yield _own(
            "deadline",
            Severity.NOTE,
            "not everything was looked at in time",
            "name single nodes to look closer",
        )


def _own(check: str, severity: Severity, what: str, cure: str) -> Diagnosis:
    return Diagnosis(check=check, severity=severity, what=what, cure=cure)


def _isolation(exam: MeshExam) -> Iterator[Diagnosis]:
    answered = any(peer.knock in (Finding.REACHABLE, Finding.REFUSED) for peer in exam.peers)
    if exam.is_isolated and exam.peers and not answered:
        yield _own(
            "isolated",
            Severity.ERROR,
            f"this node hears none of the {exam.members - 1} others it knows: what it shows of them is "
            "memory",
            "look at this machine first: `ip -br addr`, `ip route`, its firewall, its cable; the "
            "findings about peers say whether they refuse, are silent, or do not answer",
        )


def _halted(exam: MeshExam) -> Iterator[Diagnosis]:
    reason = exam.me.record.labels.get(HALTED_LABEL, "")
    if reason:
        yield _own(
            "halted",
            Severity.ERROR,
            f"the rows of this node's voter take no more entries: {reason}",
            "run the version that the other voters run; nothing is lost, and it goes on from there",
        )


def is_admitted_nowhere(exam: MeshExam) -> bool:
    """Every peer's port is open and none takes our key: that is about us, not about each of them."""
    return len(exam.peers) > 1 and all(
        peer.knock is Finding.REACHABLE
        and peer.echo is None
        and peer.echo_error == UNLINKED_CODE
        and peer.spoke_age_ms is None
        for peer in exam.peers
    )


def _admission(exam: MeshExam) -> Iterator[Diagnosis]:
    if is_admitted_nowhere(exam):
        yield _own(
            "not_admitted",
            Severity.ERROR,
            f"all {len(exam.peers)} peers accept connections and none lets this node's key in",
            "this node was removed from the fabric, or its state was restored from a backup older than its "
            "keys: `fabric members` on another node tells. To come back: stop the agent, move its state_dir "
            "away, and `fabric join` with a new token",
        )


def _ports(exam: MeshExam) -> Iterator[Diagnosis]:
    endpoint = exam.me.record.endpoint
    if exam.listening is not None and exam.listening is not Finding.REACHABLE:
        yield _own(
            "own_port",
            Severity.ERROR,
            f"this node tells peers to reach it at {endpoint}, and does not reach itself there",
            "mesh.address must be an address of this machine (`ip -br addr`), and its firewall must let "
            "the mesh port in; then restart the agent",
        )
    for door in exam.doors:
        if door.knock is not Finding.REACHABLE:
            yield _door(door)


def _door(door: Door) -> Diagnosis:
    said = "nobody listens" if door.knock is Finding.REFUSED else "nothing answers"
    return Diagnosis(
        check="door_port",
        severity=Severity.WARNING,
        what=f"{said} at the join door {door.endpoint} of {door.owner}: `fabric join` would fail from here",
        cure=f"let {door.endpoint.rpartition(':')[2]}/tcp in on {door.owner} (mesh.door_port)",
        peer=door.owner,
    )


def _load(exam: MeshExam) -> Iterator[Diagnosis]:
    if exam.lag_ms > LAG_WARNING_MS:
        yield _own(
            "lag",
            Severity.ERROR if exam.lag_ms > LAG_ERROR_MS else Severity.WARNING,
            f"this agent's event loop is {exam.lag_ms} ms late: it starves",
            "look at `top`, steal time and swap on this machine",
        )
    elif exam.awareness >= AWARENESS_WARNING:
        yield _own(
            "awareness",
            Severity.WARNING,
            f"this node doubts its own health ({exam.awareness} of 8): probes it sent were not answered "
            "in time",
            "it is starved or its network loses packets; it accuses others later meanwhile",
        )


def _clocks(exam: MeshExam) -> Iterator[Diagnosis]:
    """A node whose clock differs from most is the one that is wrong; that may be this one."""
    measured = [peer for peer in exam.peers if peer.echo is not None]
    skewed = [(peer, ahead_ms) for peer in measured if (ahead_ms := skew_ms(peer)) is not None]
    signs = [ahead_ms > 0 for _, ahead_ms in skewed]
    if len(skewed) > 1 and len(skewed) * 2 > len(measured) and len(set(signs)) == 1:
        middle = sorted(abs(ahead_ms) for _, ahead_ms in skewed)[len(skewed) // 2]
        yield _own(
            "clock",
            _skew_severity(middle),
            f"this machine's clock is about {_duration(middle)} {'behind' if signs[0] else 'ahead of'} "
            f"{len(skewed)} of {len(measured)} peers",
            "set this machine's clock: `timedatectl set-ntp true`, or `chronyc makestep`",
        )
        return
    for peer, ahead_ms in skewed:
        yield Diagnosis(
            check="clock",
            severity=_skew_severity(abs(ahead_ms)),
            what=f"its clock is {_duration(abs(ahead_ms))} {'ahead of' if ahead_ms > 0 else 'behind'} "
            "this machine's",
            cure=f"set the clock of {peer.name} (or of this machine): `timedatectl set-ntp true`; "
            "membership does not mind, and times users see, tokens and certificates do",
            peer=peer.name,
        )


def skew_ms(peer: PeerExam) -> int | None:
    """How far the peer's clock is ahead of ours; None when that is less than we can measure or mind."""
    if peer.echo is None:
        return None
    doubt_ms = peer.echo.rtt_us / 2_000
    ahead_ms = peer.echo.clock_ahead_ms
    return ahead_ms if abs(ahead_ms) - doubt_ms > SKEW_WARNING_MS else None


def _skew_severity(skew: int) -> Severity:
    return Severity.ERROR if skew >= SKEW_ERROR_MS else Severity.WARNING


def _certificates(exam: MeshExam) -> Iterator[Diagnosis]:
    ends = [(None, exam.expires_ms), *((peer.name, peer.expires_ms) for peer in exam.peers)]
    for name, expires_ms in ends:
        if expires_ms is None or expires_ms - exam.wall_ms > EXPIRY_WARNING_MS:
            continue
        left_ms = expires_ms - exam.wall_ms
        whose = "this node's" if name is None else "its"
        yield Diagnosis(
            check="certificate",
            severity=Severity.ERROR if left_ms <= EXPIRY_ERROR_MS else Severity.WARNING,
            what=f"{whose} certificate ended {_duration(-left_ms)} ago"
            if left_ms <= 0
            else f"{whose} certificate ends in {_duration(left_ms)}",
            cure="agents renew by themselves while they reach the conductor: see that it is alive "
            "(`fabric leaders`), and that the clocks are right; `fabric node rotate-key` renews at once",
            peer=name,
        )


def _strangers(exam: MeshExam) -> Iterator[Diagnosis]:
    for reason in sorted(exam.dropped_lately.keys() & _DROPPED.keys()):
        what, cure = _DROPPED[reason]
        addresses = sorted(exam.strangers, key=lambda address: -exam.strangers[address])[:STRANGERS_SHOWN_MAX]
        shown = f" (from {', '.join(addresses)})" if addresses else ""
        if reason == "key_not_admitted" and exam.former:
            shown += f", with the former key of {', '.join(sorted(exam.former)[:STRANGERS_SHOWN_MAX])}"
        age_s = exam.dropped_lately[reason] / 1_000
        said = what.format(strangers=shown)
        yield _own(reason, Severity.WARNING, f"{said}; last {age_s:.0f} s ago", cure)


def _versions(exam: MeshExam) -> Iterator[Diagnosis]:
    told = {peer.member.record.software for peer in exam.peers} | {exam.me.record.software}
    if len(told) > 1:
        yield _own(
            "versions",
            Severity.NOTE,
            f"agents of several versions: {', '.join(sorted(told))}",
            "fine while upgrading; finish it",
        )


def _twins(exam: MeshExam) -> Iterator[Diagnosis]:
    for twin in exam.twins:
        yield Diagnosis(
            check="two_owners",
            severity=Severity.ERROR,
            what=f"two processes use the identity of {twin.name}, at {' and '.join(sorted(twin.endpoints))}; "
            f"last seen {twin.age_ms / 1_000:.0f} s ago",
            cure="one runs over a copy of the other's state directory: the younger ends by itself. Remove "
            "the copy, and join that machine as a new node",
            peer=twin.name,
        )


def _names(exam: MeshExam) -> Iterator[Diagnosis]:
    for record in (exam.me.record, *(peer.member.record for peer in exam.peers)):
        wanted = record.labels.get(NAME_WANTED_LABEL)
        if wanted is not None:
            yield Diagnosis(
                check="name_waits",
                severity=Severity.WARNING,
                what=f"{record.name} is to be called {wanted}, and is not yet",
                cure=f"`fabric events --event node.rename_waits --node {record.name}` says what it waits "
                f'for; name = "{record.name}" in [node] there lets it be',
                peer=record.name,
            )


def _leaving(exam: MeshExam) -> Iterator[Diagnosis]:
    if exam.leaving:
        yield _own(
            "leaving",
            Severity.NOTE,
            f"{', '.join(exam.leaving)}: stopped on purpose a moment ago, and not examined",
            "nothing, if it was meant; `systemctl start fabric-agent` there brings a node back",
        )


def _duration(millis: int) -> str:
    for unit, size in (("days", DAY_MS), ("h", 3_600_000), ("min", 60_000)):
        if millis >= 2 * size:
            return f"{millis / size:.1f} {unit}"
    return f"{millis / 1_000:.1f} s"

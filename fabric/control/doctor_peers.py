"""Findings about one peer: what the facts of its examination mean. Pure: facts in, diagnoses out.

How a peer that does not answer is told apart, by a bare TCP connection to its mesh port ("knock") and by what
else is known:

    knock      what else                          so
    refused    -                                  its machine is there and no agent listens
    either     it goes on speaking to us          one way: it reaches us, we do not reach it
    silent     others reach it                    the way between us and it is cut
    silent     nobody reaches it                  the machine, its network or its firewall
    accepts    no link, and there never was one   another program listens, or our keys are not admitted there
    accepts    others reach it                    one way: we reach it, its answers do not reach us
    accepts    nobody is answered                 its agent is stuck
"""

from __future__ import annotations

from collections.abc import Iterator

from fabric.control.diagnosis import Diagnosis, Severity
from fabric.core.membership.model import DOWN_STATES, MemberState
from fabric.runtime.level_watch import HALTED_LABEL
from fabric.runtime.mesh_exam import LARGE_BYTES, SMALL_BYTES, MeshExam, PeerExam
from proto.membership import Finding

LAG_WARNING_MS = 250  # what membership forgives (MembershipConfig.lag_forgiven_ms)
UNLINKED_CODE = "fabric.mesh.unreachable"  # nothing was sent: no link
ANSWERING = frozenset({MemberState.ALIVE, MemberState.SUSPECT})
_REACHED_BY_OTHERS = frozenset({MemberState.ALIVE.value})


def peer_diagnoses(exam: MeshExam, peer: PeerExam) -> Iterator[Diagnosis]:
    yield from _halted(peer)
    if peer.has_answered:
        yield from _views(exam, peer)
        yield from _size(peer)
        yield from _lag(peer)
    elif peer.knock is not None and peer.echo_error:
        yield _silence(exam, peer)


def _halted(peer: PeerExam) -> Iterator[Diagnosis]:
    reason = peer.member.record.labels.get(HALTED_LABEL, "")
    if reason:
        what, cure = f"its voter has halted: {reason}", f"run the version of the other voters on {peer.name}"
        yield _about(peer, "halted", Severity.WARNING, what, cure)


def _about(peer: PeerExam, check: str, severity: Severity, what: str, cure: str) -> Diagnosis:
    return Diagnosis(check=check, severity=severity, what=what, cure=cure, peer=peer.name)


def _silence(exam: MeshExam, peer: PeerExam) -> Diagnosis:
    where = peer.member.record.endpoint
    reached_by = sorted(name for name, state in peer.others.items() if state in _REACHED_BY_OTHERS)
    others = f"{', '.join(reached_by)} reach it" if reached_by else ""
    if peer.has_spoken_since and peer.knock is not Finding.REACHABLE:
        return _one_way_out(exam, peer, where)
    if peer.knock is Finding.REFUSED:
        return _refused(peer, where)
    if peer.knock is Finding.SILENT:
        if others:
            return _about(
                peer,
                "path_cut",
                Severity.ERROR,
                f"nothing answers at {where}, yet {others}",
                f"the way between this machine and {peer.name} is cut: a firewall rule for this machine's "
                f"address on {peer.name}, a route or VLAN missing on one of the two; try `ping` and `ip "
                "route get` here",
            )
        return _about(
            peer,
            "host_silent",
            Severity.ERROR,
            f"nothing answers at {where}" + (", and no other node reaches it either" if peer.others else ""),
            f"look whether {peer.name} is switched on and on the network; if it answers `ping`, its "
            f"firewall drops the mesh port: open {_port(where)}/tcp there. Gone for good: `fabric node "
            f"remove {peer.name}`",
        )
    return _accepts(exam, peer, where, others)


def _refused(peer: PeerExam, where: str) -> Diagnosis:
    return _about(
        peer,
        "agent_down",
        Severity.ERROR,
        f"its machine answers, and nobody listens at {where}",
        f"start its agent: `systemctl start fabric-agent` on {peer.name}, and read why it ended: "
        f"`journalctl -u fabric-agent`. If it runs, a firewall rejects {_port(where)}/tcp there, or its "
        "mesh.port was changed",
    )


def _one_way_out(exam: MeshExam, peer: PeerExam, where: str) -> Diagnosis:
    spoke_s = (peer.spoke_age_ms or 0) / 1_000
    return _about(
        peer,
        "one_way",
        Severity.ERROR,
        f"one way: {peer.name} reaches this node (it spoke {spoke_s:.1f} s ago), and this node "
        f"does not reach {where}",
        f"let {_port(where)}/tcp from {_host(exam.me.record.endpoint)} in on {peer.name}, and out on this "
        "machine; both directions must be open, for each node dials the other",
    )


def _accepts(exam: MeshExam, peer: PeerExam, where: str, others: str) -> Diagnosis:
    own = exam.me.record.endpoint
    was_admitted = peer.member.state is MemberState.STALLED or peer.spoke_age_ms is not None
    is_another = peer.member.state is MemberState.AGENT_DOWN  # nobody listened there, and now somebody does
    if peer.echo_error == UNLINKED_CODE and (others or is_another or not was_admitted):
        return _about(
            peer,
            "no_handshake",
            Severity.ERROR,
            f"{where} accepts the connection, and the encrypted handshake does not finish",
            f"either another program listens there (`ss -ltnp` on {peer.name}), or {peer.name} does not "
            "admit this node's key: it belongs to another fabric, was restored from an old backup, or "
            f"this node was removed; compare `fabric members` on {peer.name} with this node's",
        )
    if others and peer.member.state is not MemberState.STALLED:
        return _about(
            peer,
            "one_way",
            Severity.ERROR,
            f"one way: this node reaches {where}, {others}, and no answer comes back to this node",
            f"let {_port(own)}/tcp from {_host(where)} in on this machine, and out on {peer.name}; does "
            f"{_host(own)} lead here from there? mesh.address in the configuration must be reachable for "
            "peers",
        )
    return _about(
        peer,
        "agent_stuck",
        Severity.ERROR,
        f"{where} accepts connections, and the agent behind it does not answer",
        f"its process is stuck or starved: look at `top` and the agent's log on {peer.name}. Restarting "
        "the agent is safe: guests and their networks go on",
    )


def _views(exam: MeshExam, peer: PeerExam) -> Iterator[Diagnosis]:
    """Both answer; do they believe it of each other?"""
    ours, theirs = peer.member.state, "" if peer.seen is None else peer.seen.state
    if ours is MemberState.STALLED or ours in DOWN_STATES:
        yield _about(
            peer,
            "stale_view",
            Severity.WARNING,
            f"this node holds it for {ours.value}, and it answers",
            "it has just come back and its refutation is on the way: ask again in a few seconds. If it "
            f"stays, the two know different things: `fabric members {peer.name}` here and there, and both "
            "logs",
        )
    if peer.seen is not None and theirs == "":
        yield _about(
            peer,
            "unknown_there",
            Severity.WARNING,
            "it answers, and does not know this node",
            "one of the two has just started: ask again in a few seconds. If it stays, one of them was "
            "restored from an old backup: join that one again as a new node",
        )
    elif theirs and theirs not in ANSWERING:
        yield _about(
            peer,
            "one_way",
            Severity.ERROR,
            f"it answers this node, and holds this node for {theirs}",
            f"from there to here is broken or was a moment ago: let {_port(exam.me.record.endpoint)}/tcp "
            f"in on this machine, then run `fabric doctor mesh` on {peer.name}",
        )
    if (peer.link is not None and peer.link.is_bad) or (peer.seen is not None and peer.seen.is_bad):
        whose = "this node" if peer.link is not None and peer.link.is_bad else peer.name
        yield _about(
            peer,
            "bad_link",
            Severity.WARNING,
            f"{whose} marked the link between the two as bad: others got through when it did not",
            "the way between the two loses traffic: look at cables, duplex and errors (`ip -s link`), "
            "and at firewalls that forget connections",
        )
    if peer.is_root_equal is False and peer.seen is not None and peer.seen.members != exam.members:
        yield _about(
            peer,
            "tables_differ",
            Severity.WARNING,
            f"it knows {peer.seen.members} nodes and this node {exam.members}, for seconds now",
            "neighbours compare each 2 s, so this heals by itself unless frames are lost: look at the "
            "findings about dropped frames, here and there",
        )


def _size(peer: PeerExam) -> Iterator[Diagnosis]:
    if peer.echo is not None and peer.large is None and peer.large_error:
        yield _about(
            peer,
            "mtu",
            Severity.ERROR,
            f"{SMALL_BYTES} bytes come back and {LARGE_BYTES} do not: large packets vanish on the way",
            "the path carries smaller packets than an interface at its ends believes, and the messages "
            "that would say so (ICMP fragmentation needed) are filtered: set the same MTU on both "
            "machines' interfaces, let ICMP through, or `sysctl net.ipv4.tcp_mtu_probing=1`; `ping -M do "
            f"-s 1472 {_host(_where(peer))}` finds it",
        )


def _lag(peer: PeerExam) -> Iterator[Diagnosis]:
    if peer.echo is not None and peer.echo.lag_ms > LAG_WARNING_MS:
        yield _about(
            peer,
            "lag",
            Severity.WARNING,
            f"its event loop is {peer.echo.lag_ms} ms late: the agent starves",
            f"look at `top`, steal time and swap on {peer.name}; membership forgives, and everything "
            "there is slow",
        )


def _where(peer: PeerExam) -> str:
    return peer.member.record.endpoint


def _host(endpoint: str) -> str:
    return endpoint.removeprefix("tcp://").rpartition(":")[0].strip("[]")


def _port(endpoint: str) -> str:
    return endpoint.rpartition(":")[2]

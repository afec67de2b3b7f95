"""Whole agents: what they say of one another, and what they do with those who are not what they claim."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench._agent_cluster import AgentCluster
from bench._mesh_identities import MESH_PORT
from bench._star import DIE_WITH_PARENT
from fabric.core.membership.model import MemberState
from fabric.mesh.curve import CurveKeyPair, new_curve_key_pair
from fabric.runtime.authority import Authority
from fabric.runtime.clock import SystemClock
from fabric.runtime.node_identity import (
    Membership,
    load_membership,
    load_or_create,
    save_membership,
)
from fabric.runtime.peers_file import load_peers, save_peers
from proto.codec import FRAME_BYTES_MAX, pack
from proto.envelope import encode, fabric_tag
from proto.ids import FabricId
from proto.join import parse_token_text
from proto.membership import NodeState, Ping, State
from tests.fixtures.dev_fabric import eventually
from tests.fixtures.netns_fabric import PATIENCE_S, until_found, until_metric, until_seen

ROOT = Path(__file__).resolve().parents[3]
ALIVE, AGENT_DOWN, HOST_DOWN = MemberState.ALIVE, MemberState.AGENT_DOWN, MemberState.HOST_DOWN
BARE = 4  # a machine on the same network that was never admitted
LIAR = 3  # a member whose keys somebody took
DROPPED, REFUSED = "fabric_mesh_dropped_total", "fabric_membership_refused_total"


def fabric_id(agents: AgentCluster) -> FabricId:
    member = load_membership(agents.directory(0))
    assert member is not None
    return member.fabric_id


def keys_of(agents: AgentCluster, machine: int) -> CurveKeyPair:
    identity = load_or_create(agents.directory(machine))
    return CurveKeyPair(identity.curve_public, identity.curve_secret)


def state_of(agents: AgentCluster, machine: int) -> NodeState:
    """Its latest word, as the founder's disk has it."""
    certificate = load_membership(agents.directory(machine))
    assert certificate is not None
    states, _ = load_peers(agents.directory(0))
    return next(state for state in states if state.certificate == certificate.certificate)


def rows(agents: AgentCluster, machine: int) -> dict[str, dict[str, object]]:
    return {row["name"]: row for row in agents.local(machine).get("/members")}


@contextmanager
def peer(agents: AgentCluster, machine: int, keys: CurveKeyPair, frames: list[bytes]) -> Iterator[None]:
    """Somebody on that machine says these to the founder, and stays connected."""
    order = {
        "endpoint": f"tcp://{agents.star.address(0)}:{MESH_PORT}",
        "server": keys_of(agents, 0).public.hex(),
        "public": keys.public.hex(),
        "secret": keys.secret.hex(),
        "frames": [frame.hex() for frame in frames],
    }
    process = subprocess.Popen(
        [*agents.star.enter(machine), *DIE_WITH_PARENT, sys.executable, "-m", "tests.fixtures.raw_peer"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "sent"
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def liar(agents: AgentCluster) -> Iterator[CurveKeyPair]:
    """The keys of a member whose own agent is gone meanwhile."""
    agents.kill([LIAR])
    until_seen(agents, [LIAR], AGENT_DOWN)
    yield keys_of(agents, LIAR)
    agents.start([LIAR])
    until_seen(agents, agents.machines, ALIVE)


def test_a_killed_agent_is_known_by_all_and_so_is_its_return(agents: AgentCluster) -> None:
    before = rows(agents, 1)["n2"]["epoch"]
    agents.kill([2])
    until_seen(agents, [2], AGENT_DOWN)
    agents.start([2])
    until_seen(agents, agents.machines, ALIVE)
    after = rows(agents, 1)["n2"]["epoch"]
    assert isinstance(before, int)
    assert isinstance(after, int)
    assert after > before


def test_a_machine_that_is_cut_off_still_answers_about_the_members(agents: AgentCluster) -> None:
    agents.star.silence([1])
    until_seen(agents, [1], HOST_DOWN, by=[0, 2, 3])
    assert set(rows(agents, 1)) == {"n0", "n1", "n2", "n3"}
    until_found(agents, 1, "isolated", None)
    agents.star.mend()
    until_seen(agents, agents.machines, ALIVE)


def test_the_doctor_names_a_way_that_is_cut(agents: AgentCluster) -> None:
    """The two are blind to each other, and all others see both."""
    agents.star.split([1], [2])
    until_found(agents, 1, "path_cut", "n2")
    until_found(agents, 2, "path_cut", "n1")
    agents.star.mend()
    until_found(agents, 1, None, None)


def test_the_doctor_names_a_way_that_carries_only_short_packets(agents: AgentCluster) -> None:
    agents.star.narrow([2])
    until_found(agents, 1, "mtu", "n2")
    agents.star.mend()
    until_found(agents, 1, None, None)


def test_a_link_that_is_given_up_is_shown_as_bad_and_good_again_later(agents: AgentCluster) -> None:
    agents.star.split([1], [2])
    eventually(
        lambda: [link["bad"] for link in agents.local(1).get("/links") if link["name"] == "n2"] == [True]
    )
    agents.star.mend()
    eventually(
        lambda: [link["bad"] for link in agents.local(1).get("/links") if link["name"] == "n2"] == [False]
    )
    until_seen(agents, agents.machines, ALIVE)


def test_a_token_opens_the_door_once_in_time_and_whole(agents: AgentCluster, tmp_path: Path) -> None:
    """Misuse from a machine of its own: what is used up, too late, revoked or damaged lets nobody in."""
    founder = agents.local(0)

    def token(ttl_s: int = 600) -> str:
        return str(founder.post("/token", {"ttl_s": ttl_s, "uses": 1})["token"])

    once = token()
    assert join(agents, tmp_path / "n9", once).returncode == 0
    short = token(1)
    expires_ms = parse_token_text(short).expires_ms
    eventually(lambda: SystemClock().wall_ms() > expires_ms)
    revoked = token()
    founder.post(f"/tokens/{parse_token_text(revoked).token_id}/revoke", {})
    fresh = token()
    at = len(fresh) // 2
    damaged = fresh[:at] + ("A" if fresh[at] != "A" else "B") + fresh[at + 1 :]
    for name, misused in {"used": once, "late": short, "revoked": revoked, "damaged": damaged}.items():
        done = join(agents, tmp_path / name, misused)
        assert done.returncode == (2 if name == "damaged" else 1), f"{name}: {done.stdout}{done.stderr}"
        assert not (tmp_path / name / "state" / "fabric.member").exists()
    founder.post("/nodes/n9/remove", {})
    eventually(
        lambda: all(set(rows(agents, machine)) == {"n0", "n1", "n2", "n3"} for machine in agents.running)
    )


def join(agents: AgentCluster, folder: Path, token: str) -> subprocess.CompletedProcess[str]:
    """A newcomer of that name on a machine that is no member yet."""
    folder.mkdir()
    config = folder / "fabric.toml"
    config.write_text(
        f'[node]\nname = "{folder.name}"\nstate_dir = "{folder}/state"\nhost = false\n'
        f'[mesh]\naddress = "{agents.star.address(BARE)}"\n'
    )
    command = [sys.executable, "-m", "fabric.cli.main", "join", "-", "--config", str(config)]
    return subprocess.run(
        [*agents.star.enter(BARE), *command],
        input=token,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        cwd=ROOT,
    )


def test_a_stopped_agent_is_stalled_in_the_eyes_of_all(agents: AgentCluster) -> None:
    agents.freeze(2)
    until_seen(agents, [2], MemberState.STALLED, by=[0, 1, 3])
    agents.thaw(2)
    until_seen(agents, agents.machines, ALIVE)


def test_an_unknown_key_gets_no_connection(agents: AgentCluster) -> None:
    frame = encode(Ping(nonce=1), fabric_tag(fabric_id(agents)))
    with peer(agents, BARE, new_curve_key_pair(), [frame]):
        until_metric(agents.local(0), DROPPED, 1, reason="key_not_admitted")


def test_a_node_certified_by_another_root_is_no_member(agents: AgentCluster, tmp_path: Path) -> None:
    """It knows the fabric, its root and addresses, and runs our own code: it lacks the root's word alone."""
    directory = tmp_path / "rogue"
    directory.mkdir()
    identity, member = load_or_create(directory), load_membership(agents.directory(0))
    assert member is not None
    forged = Authority(Ed25519PrivateKey.generate(), member.fabric_id).issue(
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        name="rogue",
        now_ms=SystemClock().wall_ms(),
    )
    save_membership(
        directory,
        Membership(fabric_id=member.fabric_id, root_public=member.root_public, certificate=forged),
    )
    save_peers(directory, load_peers(agents.directory(1))[0])
    text = agents.local(0).text("/metrics")
    ours, theirs = socket.socketpair()
    with ours:
        process = subprocess.Popen(
            [
                *agents.star.enter(BARE),
                *DIE_WITH_PARENT,
                sys.executable,
                "-m",
                "bench._mesh_agent",
                str(directory),
                agents.star.address(BARE),
                "{}",
            ],
            stdin=theirs.fileno(),
            cwd=ROOT,
            env=os.environ,
        )
        theirs.close()
        try:
            ours.sendall(b"go\n")
            until_metric(agents.local(0), DROPPED, 1, more_than=text, reason="key_not_admitted")
            until_metric(agents.local(0), DROPPED, 3, more_than=text, reason="key_not_admitted")
        finally:
            process.kill()
            process.wait()
    for machine in agents.running:
        assert set(rows(agents, machine)) == {"n0", "n1", "n2", "n3"}


def test_frames_that_are_none_of_ours_are_dropped_and_counted(
    agents: AgentCluster, liar: CurveKeyPair
) -> None:
    tag = fabric_tag(fabric_id(agents))
    good = encode(Ping(nonce=1), tag)
    bad = {
        "unknown_version": bytes((good[0], 99)) + good[2:],
        "not_an_envelope": b"\xc1" + good[1:],
        "malformed": good[:-1],
        "wrong_fabric": encode(Ping(nonce=1), fabric_tag(FabricId("another"))),
        "unknown_kind": good.replace(b"member.ping", b"member.pong"),
        "bad_field": pack([1, tag, "member.ping", {"nonce": "one"}]),
        "frame_too_long": good + bytes(FRAME_BYTES_MAX),
    }
    text = agents.local(0).text("/metrics")
    with peer(agents, LIAR, liar, list(bad.values())):
        for reason in bad:
            until_metric(agents.local(0), DROPPED, 1, more_than=text, reason=reason)
    assert rows(agents, 0)["n3"]["state"] == AGENT_DOWN.value, "none of that was a sign of life"


def test_a_forged_word_about_another_is_refused_and_counted(agents: AgentCluster, liar: CurveKeyPair) -> None:
    true = state_of(agents, 1)
    forged = NodeState(
        certificate=true.certificate, body=true.body.replace(b"here", b"left"), signature=true.signature
    )
    assert forged.body != true.body
    frame = encode(State(states=(forged,), eager=True), fabric_tag(fabric_id(agents)))
    text = agents.local(0).text("/metrics")
    with peer(agents, LIAR, liar, [frame]):
        until_metric(agents.local(0), REFUSED, 1, more_than=text, reason="bad_signature")
    assert rows(agents, 0)["n1"]["state"] == ALIVE.value


def test_a_replayed_word_of_an_earlier_life_changes_nothing(agents: AgentCluster, liar: CurveKeyPair) -> None:
    old = state_of(agents, 1)
    agents.kill([1])
    until_seen(agents, [1], AGENT_DOWN)
    agents.start([1])
    until_seen(agents, [1], ALIVE)
    before = rows(agents, 0)["n1"]
    frame = encode(State(states=(old,), eager=True), fabric_tag(fabric_id(agents)))
    text = agents.local(0).text("/metrics")
    with peer(agents, LIAR, liar, [frame, frame]):
        until_metric(agents.local(0), "fabric_membership_states_stale_total", 2, more_than=text)
    after = rows(agents, 0)["n1"]
    assert (after["epoch"], after["state"]) == (before["epoch"], ALIVE.value)

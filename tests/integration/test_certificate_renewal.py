"""Certificates that last seconds, over real sockets and a real log: renewed in time, the older ones spent."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from random import Random

from fabric.core.membership.record import read_state, sign_record
from fabric.runtime.authority import NodeTrust, create_authority, read_own
from fabric.runtime.certificate_request import Issuer
from fabric.runtime.certificate_service import CertificateService
from fabric.runtime.clock import SystemClock
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import Membership, load_membership
from fabric.runtime.renewal import Renewal
from fabric.store.lone_voter import lone_voter
from fabric.store.voter_engine import VoterEngine
from proto.commands.nodes import JoinTokenCreate, NodeAdmit
from proto.ids import Epoch, FabricId, RequestId, TokenId, new_uuid
from proto.membership import NodeState
from tests.fixtures.fabric_nodes import FabricNode, start_node
from tests.fixtures.mesh_nodes import until
from tests.fixtures.store_world import fabric_init

LIFE_MS = 6_000
CLOCK = SystemClock()


async def admit(state: VoterEngine, node: FabricNode) -> None:
    """As the join door does."""
    token = TokenId("t")
    expires_ms = CLOCK.wall_ms() + 60_000
    await state.propose(fabric_init(), request_id=RequestId("init"))
    await state.propose(
        JoinTokenCreate(token_id=token, secret_hash=b"h", expires_ms=expires_ms),
        request_id=RequestId("token"),
    )
    own = node.fleet.states()[0]
    await state.propose(
        NodeAdmit(
            node_id=node.node_id,
            name=node.name,
            curve_public=node.identity.curve_public,
            certificate=own.certificate,
            token_id=token,
            body=own.body,
            signature=own.signature,
        ),
        request_id=RequestId(f"req-{new_uuid()}"),
    )


def generation_seen(by: FabricNode, of: FabricNode) -> int:
    member = by.fleet.member(of.node_id)
    return 0 if member is None else read_own(member.record.certificate).generation


async def test_a_certificate_is_renewed_again_and_again_and_the_older_ones_are_spent(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    authority = create_authority(tmp_path / "root", FabricId("short-lived"), life_ms=LIFE_MS)
    state = lone_voter(tmp_path / "state", clock=CLOCK)
    await state.open()
    a = await start_node("a", tmp_path / "a", authority)  # conducts
    b = await start_node("b", tmp_path / "b", authority)
    first = b.fleet.states()[0]
    a.fleet.admit(first)
    b.fleet.admit(a.fleet.states()[0])
    await admit(state, b)
    trust = NodeTrust(
        a.identity,
        root_public=authority.root_public,
        fabric_id=authority.fabric_id,
        now_ms=CLOCK.wall_ms,
    )
    CertificateService(state, authority, trust, a.rpc, CLOCK, rotated=lambda told: None)
    events = EventLog(CLOCK)
    renewal = Renewal(
        tmp_path / "b",
        Membership(authority.fabric_id, authority.root_public, first.certificate),
        b.identity,
        Issuer(rpc=b.rpc, conductor=lambda: a.node_id, clock=CLOCK),
        events=events,
        name="b",
        publish=lambda certificate: b.fleet.publish(certificate=certificate),
        rng=Random(1),
    )
    loop = asyncio.create_task(renewal.run())
    try:
        await until(lambda: generation_seen(a, b) >= 3, within_s=60)
        saved = load_membership(tmp_path / "b")
        assert saved is not None
        assert read_own(saved.certificate).generation >= 3
        assert {"certificate.renewed"} <= {event.event for event in events.recent()}
        # Whoever kept the first certificate may sign as newly as he likes.
        record = replace(read_state(first).record, epoch=Epoch(99), certificate=first.certificate)
        late: NodeState = sign_record(record, b.identity.sign).state
        a.fleet.admit(late)
        assert a.fleet.refused["expired_certificate"] + a.fleet.refused["certificate_spent"] == 1
        seen = a.fleet.member(b.node_id)
        assert seen is not None
        assert seen.record.epoch < 99
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
        await b.stop()
        await a.stop()
        await state.close()

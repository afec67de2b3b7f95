"""New keys under the same id: a crash at any step leaves a node that can speak, and it ends with new keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fabric.core.membership.model import NodeRecord
from fabric.errors import DeadlineExceededError, PeerUnreachableError
from fabric.mesh.curve import CurveKeyPair
from fabric.runtime import node_identity, rotation
from fabric.runtime.node_identity import Membership, NodeIdentity, load_membership, load_or_create
from fabric.runtime.rotation import PENDING_FILE, Rotation, RotationError, pending_keys, settle
from fabric.store import files
from proto.codec import Plain
from proto.commands.nodes import NodeRenew
from proto.ids import NodeId
from tests.unit.runtime.node_keys_world import KeysWorld, OneNodeFleet, a_request

PEER = "tcp://127.0.0.1:7500"


class KilledError(BaseException):
    """As kill -9 between two steps."""


class Life:
    """One process of the node, with what its files say at its start."""

    def __init__(self, world: KeysWorld) -> None:
        settle(world.directory)
        self.world = world
        self.identity = load_or_create(world.directory)
        member = load_membership(world.directory)
        assert member is not None
        self.member: Membership = member
        self.begun_anew = asyncio.Event()
        self.told: list[NodeIdentity] = []
        self.rotation = Rotation(
            world.directory,
            member,
            self.identity,
            world.issuer,
            OneNodeFleet(world.record, peer_of(world)),
            tell=lambda fresh, certificate: self.told.append(fresh),
            begin_anew=self.begun_anew.set,
        )

    async def is_whole(self) -> bool:
        """Its keys and certificate fit, and the log knows them."""
        certificate = self.world.issuer.read(self.member, self.member.certificate)
        row = await self.world.row()
        return (
            certificate.curve_public == self.identity.curve_public == row.curve_public
            and certificate.sign_public == self.identity.sign_public
            and certificate.node_id == self.identity.node_id == self.world.node_id
        )


def peer_of(world: KeysWorld) -> NodeRecord:
    return replace(world.record, node_id=NodeId("e" * 32), endpoint=PEER)


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeysWorld]:
    made = KeysWorld(tmp_path)
    await made.open()

    async def is_admitted(endpoint: str, keys: CurveKeyPair, server_public: bytes) -> bool:
        """The peer knows what the conductor told it: the key in the log."""
        assert server_public == made.record.curve_public
        return endpoint == PEER and (await made.row()).curve_public == keys.public

    monkeypatch.setattr(rotation, "is_admitted", is_admitted)
    monkeypatch.setattr(rotation, "RETRY_S_FIRST", 0.01)
    yield made
    await made.close()


async def test_a_rotation_end_to_end(world: KeysWorld) -> None:
    life = Life(world)
    old = life.identity
    await life.rotation.rotate()
    assert life.begun_anew.is_set()
    assert life.told == []  # the conductor tells, for all but itself
    after = Life(world)
    assert await after.is_whole()
    assert after.identity.node_id == old.node_id
    assert {after.identity.curve_public, after.identity.sign_public}.isdisjoint(
        {old.curve_public, old.sign_public}
    )
    assert not (world.directory / PENDING_FILE).exists()
    assert world.last_word().epoch > world.record.epoch  # nothing said under the old keys outbids it


async def test_the_conductor_tells_the_mesh_of_its_own_new_keys(world: KeysWorld) -> None:
    life = Life(world)
    object.__setattr__(world.issuer, "conductor", lambda: world.node_id)
    await life.rotation.rotate()
    assert [fresh.curve_public for fresh in life.told] == [(await world.row()).curve_public]


STEPS = ("certified", "pending", "epoch", "logged", "unheard", "member", "key", "cleared")


@pytest.mark.parametrize("step", range(len(STEPS)), ids=STEPS)
async def test_killed_at_any_step(world: KeysWorld, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Killed just before each step takes effect; what starts again over the files ends with the new keys, or
    with the old ones where nothing was in force yet."""
    life = Life(world)
    count = 0

    def die_at_its_turn() -> None:
        nonlocal count
        if count == step:
            raise KilledError
        count += 1

    real_write, real_unlink = files.write_private, Path.unlink

    def write(path: Path, data: bytes) -> None:
        die_at_its_turn()
        real_write(path, data)

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name == PENDING_FILE:
            die_at_its_turn()
        real_unlink(path, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(node_identity, "write_private", write)
        patch.setattr(rotation, "write_private", write)
        patch.setattr(Path, "unlink", unlink)
        world.rpc.before = lambda method: die_at_its_turn()
        world.rpc.after = lambda method: die_at_its_turn() if method == "node.rotate" else None
        with pytest.raises(KilledError):
            await life.rotation.rotate()
    world.rpc.before = world.rpc.after = lambda method: None
    await finish(world)
    final = Life(world)
    assert await final.is_whole(), STEPS[step]
    is_rotated = final.identity.curve_public != life.identity.curve_public
    assert is_rotated is (step > 1)
    assert not (world.directory / PENDING_FILE).exists()


async def finish(world: KeysWorld) -> None:
    """The next life, until nothing is left to do."""
    life = Life(world)
    if pending_keys(world.directory) is None:
        return
    # where the log has the new keys, the old ones open no door any more
    if (await world.row()).curve_public != life.identity.curve_public:

        def shut(method: str) -> None:
            raise PeerUnreachableError("the old key is refused")

        world.rpc.before = shut
    loop = asyncio.create_task(life.rotation.finish())
    try:
        async with asyncio.timeout(10):
            await life.begun_anew.wait()
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_without_a_conductor_nothing_changes(world: KeysWorld) -> None:
    life = Life(world)

    def gone(method: str) -> None:
        raise PeerUnreachableError("gone")

    world.rpc.before = gone
    with pytest.raises(RotationError, match="did not certify"):
        await life.rotation.rotate()
    assert not (world.directory / PENDING_FILE).exists()
    assert await Life(world).is_whole()


async def test_an_unknown_outcome_is_found_out_in_the_same_life(world: KeysWorld) -> None:
    life = Life(world)

    def lost(method: str) -> None:
        if method == "node.rotate":
            raise DeadlineExceededError("no answer")

    world.rpc.after = lost
    with pytest.raises(DeadlineExceededError, match="new keys wait"):
        await life.rotation.rotate()
    world.rpc.after = lambda method: None
    loop = asyncio.create_task(life.rotation.finish())
    try:
        async with asyncio.timeout(10):
            await life.begun_anew.wait()
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)
    assert await Life(world).is_whole()


async def test_new_keys_the_log_refuses_are_dropped(world: KeysWorld) -> None:
    life = Life(world)

    async def overtaken() -> None:
        await world.state.propose(
            NodeRenew(
                node_id=world.node_id,
                curve_public=life.identity.curve_public,
                certificate=b"newer",
                generation=7,
            ),
            request_id=a_request(),
        )

    real = world.rpc.handlers["node.rotate"]

    async def rotate_late(peer: NodeId, body: Mapping[str, Plain]) -> Plain:
        await overtaken()
        return await real(peer, body)

    world.rpc.handlers["node.rotate"] = rotate_late
    with pytest.raises(RotationError, match="refuses the new keys"):
        await life.rotation.rotate()
    assert not (world.directory / PENDING_FILE).exists()
    assert load_or_create(world.directory).curve_public == life.identity.curve_public


async def test_damaged_pending_keys_are_named(world: KeysWorld) -> None:
    (world.directory / PENDING_FILE).write_bytes(b"\xc1")
    with pytest.raises(node_identity.IdentityError, match=r"node\.key\.next: damaged"):
        settle(world.directory)

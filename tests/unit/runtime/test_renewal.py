"""Certificates are renewed in time, and somebody hears of it when they are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from fabric.errors import PeerUnreachableError
from fabric.runtime import renewal
from fabric.runtime.authority import CERTIFICATE_LIFE_MS, DAY_MS, Authority, check_admission, read_own
from fabric.runtime.events import EventLog
from fabric.runtime.node_identity import Membership, load_membership
from fabric.runtime.renewal import CertificateNotNewerError, Renewal, due_ms, renew_founders_own
from tests.unit.runtime.node_keys_world import FABRIC, NAME, KeysWorld


class Renewing:
    def __init__(self, world: KeysWorld) -> None:
        self.events = EventLog(world.clock)
        self.published: asyncio.Queue[bytes] = asyncio.Queue()
        self.renewal = Renewal(
            world.directory,
            world.member,
            world.identity,
            world.issuer,
            events=self.events,
            name=NAME,
            publish=self.published.put_nowait,
            rng=Random(1),
        )

    def told(self) -> list[str]:
        return [event.event for event in self.events.recent()]


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeysWorld]:
    monkeypatch.setattr(renewal, "LOOK_AGAIN_S", 0.01)
    monkeypatch.setattr(renewal, "RETRY_S_FIRST", 0.01)
    monkeypatch.setattr(renewal, "RETRY_S_MAX", 0.02)
    made = KeysWorld(tmp_path)
    await made.open()
    yield made
    await made.close()


async def test_it_is_renewed_from_two_thirds_of_its_life(world: KeysWorld) -> None:
    renewing = Renewing(world)
    due = due_ms(read_own(world.member.certificate))
    assert due == world.clock.now_ms + 60 * DAY_MS
    task = asyncio.create_task(renewing.renewal.run())
    try:
        asked = 0

        def count(method: str) -> None:
            nonlocal asked
            asked += 1

        world.rpc.before = count
        world.clock.advance(60 * DAY_MS - 20)
        asked_early = 0
        while renewing.published.empty():  # each turn of its loop, it sees the clock a little later
            if world.clock.now_ms < due:
                asked_early = asked
            await asyncio.sleep(0.01)
            world.clock.advance(1)
        assert asked_early <= 1  # only whether it has the newest
        certificate = read_own(renewing.published.get_nowait())
        assert certificate.generation == 2
        saved = load_membership(world.directory)
        assert saved is not None
        assert read_own(saved.certificate) == certificate == read_own((await world.row()).certificate)
        assert "certificate.renewed" in renewing.told()
        check_admission(saved, world.identity, now_ms=world.clock.now_ms)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_node_restored_from_a_backup_gets_the_certificate_that_counts(world: KeysWorld) -> None:
    world.clock.advance(CERTIFICATE_LIFE_MS * 2 // 5)  # not due by itself
    newest = await world.issuer.certify(world.member, world.identity, world.identity)
    renewing = Renewing(world)  # over the old file: its certificate is spent everywhere
    task = asyncio.create_task(renewing.renewal.run())
    try:
        async with asyncio.timeout(20):
            assert await renewing.published.get() == newest
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_it_is_tried_again_and_told_as_the_end_comes_nearer(world: KeysWorld) -> None:
    renewing = Renewing(world)
    failures: asyncio.Queue[str] = asyncio.Queue()

    def gone(method: str) -> None:
        failures.put_nowait(method)
        raise PeerUnreachableError("the conductor is away")

    async def until_told(event: str) -> None:
        async with asyncio.timeout(20):
            while event not in renewing.told():
                await failures.get()
                await asyncio.sleep(0)

    world.rpc.before = gone
    world.clock.advance(CERTIFICATE_LIFE_MS * 2 // 3)
    task = asyncio.create_task(renewing.renewal.run())
    try:
        async with asyncio.timeout(20):
            await failures.get()
            await failures.get()
        assert renewing.told() == []  # a third of its life is left: nothing for people yet
        world.clock.advance(CERTIFICATE_LIFE_MS * 1 // 5)
        await until_told("certificate.expiring")
        world.clock.advance(CERTIFICATE_LIFE_MS)
        await until_told("certificate.expired")
        world.rpc.before = lambda method: None
        async with asyncio.timeout(20):
            assert read_own(await renewing.published.get()).generation == 2
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_conductor_whose_clock_says_it_is_fresh_is_asked_again_later(world: KeysWorld) -> None:
    with pytest.raises(CertificateNotNewerError):
        await Renewing(world).renewal.renew()


def test_the_founder_renews_its_own_before_it_speaks(world: KeysWorld, tmp_path: Path) -> None:
    authority: Authority = world.authority
    now_ms = world.clock.now_ms
    certificate = authority.issue(
        curve_public=world.identity.curve_public,
        sign_public=world.identity.sign_public,
        name=NAME,
        now_ms=now_ms,
        roles=("host", "conductor"),
    )
    member = Membership(FABRIC, authority.root_public, certificate, founder=True)

    def at(days: int) -> Membership:
        return renew_founders_own(world.directory, member, world.identity, authority, now_ms + days * DAY_MS)

    assert at(59) is member
    renewed = at(900)  # it was away for years, and nobody else could let it in
    assert read_own(renewed.certificate).generation == 2
    assert read_own(renewed.certificate).roles == ("host", "conductor")
    assert load_membership(world.directory) == renewed
    check_admission(renewed, world.identity, now_ms=now_ms + 900 * DAY_MS)

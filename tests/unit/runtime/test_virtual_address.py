"""The holder of the virtual address: takes it, tells, keeps it, gives it up; an earlier life's goes."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

from fabric.runtime.clock import SystemClock
from fabric.runtime.events import EventLog
from fabric.runtime.virtual_address import ANNOUNCE_EACH_LOOKS, FIRST_ANNOUNCEMENTS, VirtualAddress
from netplug.fake_address import FakeAddressPlug
from tests.fixtures.mesh_nodes import until


class Host:
    """One life of an agent over a directory that outlives it."""

    def __init__(self, directory: Path) -> None:
        self.plug = FakeAddressPlug(directory, "10.0.0.100/24")
        self.log = EventLog(SystemClock())
        self.told: list[str] = []
        self.is_stale = False
        self.address = VirtualAddress(
            self.plug,
            self.log,
            address="10.0.0.100",
            node="a",
            another_conducts=lambda: self.is_stale,
            tell=self.told.append,
        )

    def events(self) -> list[str]:
        return [entry.event for entry in self.log.recent()]


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_it_is_held_while_leading_and_no_longer(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    duty = asyncio.create_task(host.address.hold())
    await until(lambda: host.plug.announced_count > 0)
    assert await host.plug.is_present()
    assert host.told == ["10.0.0.100"]
    await end(duty)
    assert not await host.plug.is_present()
    assert host.told == ["10.0.0.100", ""]
    assert host.events() == ["api.virtual_address_taken"]


async def test_who_leads_keeps_it_though_the_loop_that_keeps_away_runs(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    duty = asyncio.create_task(host.address.hold())
    away = asyncio.create_task(host.address.keep_away())
    await until(lambda: host.plug.announced_count > 1)
    assert await host.plug.is_present()
    assert host.told == ["10.0.0.100"]
    await end(duty)
    await end(away)


async def test_what_a_killed_agent_left_goes_before_anything_else(tmp_path: Path) -> None:
    killed = Host(tmp_path)
    await killed.address.open()
    await killed.address.look()
    again = Host(tmp_path)
    await again.address.open()
    assert not await again.plug.is_present()


async def test_who_does_not_lead_takes_off_what_it_finds(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    await host.plug.ensure()
    away = asyncio.create_task(host.address.keep_away())
    await until(lambda: not (tmp_path / "fake_address").exists())
    await end(away)


async def test_a_holder_that_hears_of_another_conductor_gives_it_up(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    await host.address.look()
    host.is_stale = True
    await host.address.look()
    assert not await host.plug.is_present()
    assert host.told == ["10.0.0.100", ""]


async def test_it_is_announced_at_first_then_now_and_then_and_anew_when_it_was_lost(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    for _ in range(ANNOUNCE_EACH_LOOKS - 1):
        await host.address.look()
    assert host.plug.announced_count == FIRST_ANNOUNCEMENTS
    await host.address.look()
    assert host.plug.announced_count == FIRST_ANNOUNCEMENTS + 1
    await host.plug.remove()  # by another's hand
    await host.address.look()
    assert await host.plug.is_present()
    assert host.plug.announced_count == FIRST_ANNOUNCEMENTS + 2


async def test_a_host_that_cannot_is_told_of_once_and_tried_again(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    host.plug.refuses = "needs CAP_NET_ADMIN"
    for _ in range(3):
        await host.address.look()
    (event,) = host.log.recent()
    assert (event.event, event.fields["reason"]) == ("api.virtual_address_failed", "needs CAP_NET_ADMIN")
    host.plug.refuses = ""
    await host.address.look()
    assert await host.plug.is_present()
    host.plug.refuses = "needs CAP_NET_ADMIN"
    await host.address.look()
    assert host.events().count("api.virtual_address_failed") == 2


async def test_close_takes_it_off(tmp_path: Path) -> None:
    host = Host(tmp_path)
    await host.address.open()
    await host.address.look()
    await host.address.close()
    assert not (tmp_path / "fake_address").exists()

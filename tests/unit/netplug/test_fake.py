"""What the fake adds to the contract: its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from netplug.contract import PortsRefusedError
from netplug.fake import FakeNetPlug
from proto.errors import NetPlugError
from tests.fixtures.network_plans import EMPTY, host, network, port


async def test_damaged_file_is_an_error_not_an_empty_host(tmp_path: Path) -> None:
    plug = FakeNetPlug(tmp_path)
    await plug.open()
    await plug.apply(host([network(1)], [port(1)]))
    (tmp_path / "fake_network.json").write_text('{"bridges": 1}')
    with pytest.raises(NetPlugError, match="damaged"):
        await plug.apply(EMPTY)


async def test_without_uplinks_given_any_physical_network_is_there(tmp_path: Path) -> None:
    plug = FakeNetPlug(tmp_path / "any")
    await plug.open()
    plan = host([network(1, physical="phy0"), network(2, physical="phy1")], [port(1), port(2, net=2)])
    assert len(await plug.apply(plan)) == 2
    strict = FakeNetPlug(tmp_path / "none", uplinks={})
    await strict.open()
    with pytest.raises(PortsRefusedError, match="no uplink"):
        await strict.apply(plan)


async def test_unwritable_directory_is_reported(tmp_path: Path) -> None:
    plug = FakeNetPlug(tmp_path / "gone")
    await plug.open()
    (tmp_path / "gone").rmdir()
    with pytest.raises(NetPlugError, match="cannot keep"):
        await plug.apply(host([network(1)], [port(1)]))

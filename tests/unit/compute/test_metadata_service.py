"""The service over real sockets: who is who, and what a restart keeps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from fabric.compute.metadata.facts import GuestFacts
from fabric.compute.metadata.service import MetadataService
from proto.ids import NetworkId
from tests.fixtures.compute_rows import assigned, placed, uuid_of

NET_A, NET_B = NetworkId(uuid_of("net-a")), NetworkId(uuid_of("net-b"))
GUESTS = {(NET_A, "127.0.0.1"): "on-a", (NET_B, "127.0.0.1"): "on-b", (NET_A, "127.0.0.2"): "second-on-a"}


def lookup(network_id: NetworkId, address: str) -> GuestFacts | None:
    name = GUESTS.get((network_id, address))
    if name is None:
        return None
    row = assigned(placed(name, user_data=b"hi" if name == "on-a" else None))
    return GuestFacts(assigned=row, security_group_names=(), random_seed=bytes(512))


def make(tmp_path: Path) -> MetadataService:
    return MetadataService(lookup, tmp_path / "ports.json", address="127.0.0.1")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[MetadataService]:
    made = make(tmp_path)
    yield made
    await made.close()


async def fetch(
    port: int,
    path: str,
    *,
    source: str = "127.0.0.1",
    method: str = "GET",
    headers: dict[str, str] | None = None,
    data: bytes | None = None,
) -> tuple[int, bytes, str]:
    connector = aiohttp.TCPConnector(local_addr=(source, 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.request(
            method,
            f"http://127.0.0.1:{port}{path}",
            headers=headers,
            data=data,
            timeout=aiohttp.ClientTimeout(5),
        ) as answer,
    ):
        return answer.status, await answer.read(), answer.content_type


async def name_of(port: int, source: str = "127.0.0.1", headers: dict[str, str] | None = None) -> str:
    status, body, kind = await fetch(port, "/openstack/latest/meta_data.json", source=source, headers=headers)
    assert (status, kind) == (200, "application/json")
    return str(json.loads(body)["name"])


async def test_two_networks_with_one_range_never_mix(service: MetadataService) -> None:
    port_a, port_b = await service.ensure_listener(NET_A), await service.ensure_listener(NET_B)
    assert port_a != port_b
    assert await name_of(port_a) == "on-a"
    assert await name_of(port_b) == "on-b"
    assert await name_of(port_a, source="127.0.0.2") == "second-on-a"


async def test_headers_prove_nothing(service: MetadataService) -> None:
    port = await service.ensure_listener(NET_A)
    forged = {
        "X-Forwarded-For": "127.0.0.2",
        "X-Instance-ID": placed("second-on-a").server_id,
        "X-Real-IP": "127.0.0.2",
        "Forwarded": "for=127.0.0.2",
        "Host": "evil",
    }
    assert await name_of(port, headers=forged) == "on-a"


async def test_strangers_get_404(service: MetadataService) -> None:
    port = await service.ensure_listener(NET_A)
    assert (await fetch(port, "/openstack/latest/meta_data.json", source="127.0.0.9"))[0] == 404
    assert (await fetch(port, "/", source="127.0.0.9"))[0] == 404


async def test_statuses_and_types(service: MetadataService) -> None:
    port = await service.ensure_listener(NET_A)
    assert (await fetch(port, "/openstack"))[0] == 200
    assert (await fetch(port, "/openstack"))[2] == "text/plain"
    assert await fetch(port, "/openstack/latest/user_data") == (200, b"hi", "application/octet-stream")
    assert (await fetch(port, "/openstack/latest/user_data", source="127.0.0.2"))[0] == 404
    assert (await fetch(port, "/openstack/1999-01-01/"))[0] == 404
    assert (await fetch(port, "/latest/api/token", method="PUT"))[0] == 404  # as real Nova: no tokens
    assert (await fetch(port, "/openstack", method="POST"))[0] == 405
    assert (await fetch(port, "/openstack", method="DELETE"))[0] == 405
    assert (await fetch(port, "/openstack", method="HEAD"))[0] == 200
    status, body, _ = await fetch(port, "/latest/meta-data/instance-id")
    assert status == 200
    assert not body.endswith(b"\n")


async def test_bodies_are_not_read_into_memory(service: MetadataService) -> None:
    port = await service.ensure_listener(NET_A)
    assert (await fetch(port, "/openstack", method="POST", data=bytes(1 << 20)))[0] in (405, 413)


async def test_ports_survive_a_restart(service: MetadataService, tmp_path: Path) -> None:
    port = await service.ensure_listener(NET_A)
    assert await service.ensure_listener(NET_A) == port
    await service.close()
    with pytest.raises(aiohttp.ClientConnectorError):  # refused, not a 5xx
        await fetch(port, "/openstack")
    again = make(tmp_path)
    try:
        with pytest.raises(aiohttp.ClientConnectorError):
            await fetch(port, "/openstack")
        assert await again.ensure_listener(NET_A) == port
        assert await name_of(port) == "on-a"
    finally:
        await again.close()


async def test_a_port_somebody_took_is_replaced(service: MetadataService, tmp_path: Path) -> None:
    port = await service.ensure_listener(NET_A)
    await service.close()
    thief = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", port)
    again = make(tmp_path)
    try:
        other = await again.ensure_listener(NET_A)
        assert other != port
        assert await name_of(other) == "on-a"
    finally:
        thief.close()
        await again.close()
    assert json.loads((tmp_path / "ports.json").read_text()) == {NET_A: other}


async def test_a_network_that_goes_takes_its_listener_along(service: MetadataService, tmp_path: Path) -> None:
    port_a, port_b = await service.ensure_listener(NET_A), await service.ensure_listener(NET_B)
    await service.keep_only(frozenset({NET_B}))
    with pytest.raises(aiohttp.ClientConnectorError):
        await fetch(port_a, "/openstack")
    assert await name_of(port_b) == "on-b"
    assert json.loads((tmp_path / "ports.json").read_text()) == {NET_B: port_b}


async def test_a_damaged_file_costs_only_the_old_ports(tmp_path: Path) -> None:
    (tmp_path / "ports.json").write_text("{broken")
    made = make(tmp_path)
    try:
        assert await name_of(await made.ensure_listener(NET_A)) == "on-a"
    finally:
        await made.close()


async def test_callers_at_once_share_one_listener(service: MetadataService) -> None:
    ports = await asyncio.gather(*(service.ensure_listener(NET_A) for _ in range(5)))
    assert len(set(ports)) == 1

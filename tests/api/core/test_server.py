"""The one port: discovery documents, mounts, sockets, the access line."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from fabric.api.faults import GLANCE, KEYSTONE, NEUTRON, NOVA, Dialect
from fabric.api.microversion import MAX
from fabric.api.responses import empty_response
from fabric.api.routing import Route, build_app
from fabric.api.server import ApiServer, build_root
from fabric.control.context import Cloud
from proto.ids import is_request_id
from tests.api.core.state_double import cloud_double

MOUNTS: dict[str, Dialect] = {
    "/identity": KEYSTONE,
    "/compute": NOVA,
    "/image": GLANCE,
    "/network": NEUTRON,
}


async def _ok(request: web.Request) -> web.Response:
    return empty_response(200)


def _root(cloud: Cloud) -> web.Application:
    apps = {
        mount: build_app(mount, (Route("GET", "/v9/ok", _ok, public=True),), dialect)
        for mount, dialect in MOUNTS.items()
    }
    return build_root(cloud, apps=apps)


@pytest.fixture
async def server() -> AsyncIterator[ApiServer]:
    api = await ApiServer.listen(_root(cloud_double()), host="127.0.0.1", port=0)
    try:
        yield api
    finally:
        await api.close()


async def _get(server: ApiServer, path: str, **more: Any) -> tuple[int, Any, dict[str, str]]:
    url = f"http://127.0.0.1:{server.port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False, **more) as answer:
        body = await answer.json() if (await answer.read()) else None
        return answer.status, body, dict(answer.headers)


@pytest.mark.parametrize("path", ["/identity", "/identity/"])
async def test_identity_index_is_300_with_the_extra_level(server: ApiServer, path: str) -> None:
    status, body, headers = await _get(server, path)
    (version,) = body["versions"]["values"]
    base = f"http://127.0.0.1:{server.port}"
    assert status == 300
    assert headers["Location"] == f"{base}/identity/v3/"
    assert (version["id"], version["status"]) == ("v3.14", "stable")
    assert version["links"] == [{"rel": "self", "href": f"{base}/identity/v3/"}]
    assert is_request_id(headers["x-openstack-request-id"])


@pytest.mark.parametrize("path", ["/identity/v3", "/identity/v3/"])
async def test_identity_v3(server: ApiServer, path: str) -> None:
    status, body, _ = await _get(server, path)
    assert (status, body["version"]["id"]) == (200, "v3.14")


@pytest.mark.parametrize("path", ["/compute", "/compute/"])
async def test_compute_index(server: ApiServer, path: str) -> None:
    status, body, _ = await _get(server, path)
    old, new = body["versions"]
    assert status == 200
    assert (old["id"], old["version"], old["min_version"]) == ("v2.0", "", "")
    assert (new["id"], new["status"], new["version"], new["min_version"]) == (
        "v2.1",
        "CURRENT",
        str(MAX),
        "2.1",
    )


@pytest.mark.parametrize("path", ["/compute/v2.1", "/compute/v2.1/"])
async def test_compute_v21_needs_no_token(server: ApiServer, path: str) -> None:
    status, body, _ = await _get(server, path)
    assert status == 200
    assert body["version"]["version"] == str(MAX)
    assert body["version"]["links"][0]["href"] == f"http://127.0.0.1:{server.port}/compute/v2.1/"


@pytest.mark.parametrize(("path", "wanted"), [("/image", 300), ("/image/", 300), ("/image/versions", 200)])
async def test_image_versions_current_first(server: ApiServer, path: str, wanted: int) -> None:
    status, body, _ = await _get(server, path)
    assert status == wanted
    assert (body["versions"][0]["id"], body["versions"][0]["status"]) == ("v2.15", "CURRENT")
    assert all(version["links"][0]["href"].endswith("/image/v2/") for version in body["versions"])


@pytest.mark.parametrize("path", ["/network", "/network/"])
async def test_network_index(server: ApiServer, path: str) -> None:
    status, body, _ = await _get(server, path)
    assert (status, body["versions"][0]["id"]) == (200, "v2.0")


async def test_the_root_index_lists_what_is_mounted(server: ApiServer) -> None:
    status, body, _ = await _get(server, "/")
    assert status == 300
    assert [each["service"] for each in body["versions"]] == ["identity", "compute", "image", "network"]


async def test_hrefs_begin_with_what_the_client_came_by(server: ApiServer) -> None:
    _, body, _ = await _get(server, "/network/", headers={"Host": "cloud.example:8000"})
    assert body["versions"][0]["links"][0]["href"] == "http://cloud.example:8000/network/v2.0/"


async def test_a_public_url_wins_over_the_host_header() -> None:
    cloud = replace(cloud_double(), public_url="https://cloud.example/")
    api = await ApiServer.listen(_root(cloud), host="127.0.0.1", port=0)
    try:
        _, body, _ = await _get(api, "/network/")
    finally:
        await api.close()
    assert body["versions"][0]["links"][0]["href"] == "https://cloud.example/network/v2.0/"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/compute/v2.1/x", "itemNotFound"),
        ("/identity/v3/x", "error"),
        ("/network/v2.0/x", "NeutronError"),
        ("/x", "error"),
    ],
)
async def test_unknown_paths_are_404_in_the_mounts_own_dialect(
    server: ApiServer, path: str, key: str
) -> None:
    status, body, headers = await _get(server, path)
    assert (status, key in body) == (404, True)
    assert is_request_id(headers["x-openstack-request-id"])


async def test_mounted_apps_answer_below_their_mount(server: ApiServer) -> None:
    for mount in MOUNTS:
        status, _, _ = await _get(server, f"{mount}/v9/ok")
        assert status == 200


async def test_an_inherited_socket_is_served() -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    api = await ApiServer.listen_on(_root(cloud_double()), sock)
    try:
        assert api.port == sock.getsockname()[1]
        status, _, _ = await _get(api, "/network/")
    finally:
        await api.close()
    assert status == 200


async def test_a_taken_port_is_an_os_error(server: ApiServer) -> None:
    with pytest.raises(OSError):
        await ApiServer.listen(_root(cloud_double()), host="127.0.0.1", port=server.port)


async def test_http_1_0_without_a_host_header(server: ApiServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /network/ HTTP/1.0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert f"http://127.0.0.1:{server.port}/network/v2.0/".encode() in answer


async def test_the_access_line_has_fields_and_no_secrets(
    server: ApiServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="fabric.api.server"):
        _, _, headers = await _get(server, "/compute/v9/ok?token=hush", headers={"X-Auth-Token": "gAAAAhush"})
        await server.close()  # the line is written after the answer
    (record,) = [each for each in caplog.records if each.getMessage() == "request"]
    fields = vars(record)
    assert (fields["method"], fields["path"], fields["status"]) == ("GET", "/compute/v9/ok", 200)
    assert fields["request_id"] == headers["x-openstack-request-id"]
    assert "hush" not in repr(fields)

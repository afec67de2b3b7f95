"""GET /metrics over TCP: that, nothing else, and a taken port is named."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession

from fabric.api.local.metrics import MetricsServer
from fabric.errors import ConfigError
from tests.fixtures.prometheus_parser import parse_strictly

TEXT = "# HELP x Help.\n# TYPE x gauge\nx 1\n"


async def test_it_serves_metrics_and_nothing_else() -> None:
    server = await MetricsServer.listen(lambda: TEXT, host="127.0.0.1", port=0)
    async with ClientSession(f"http://127.0.0.1:{server.port}") as client:
        answer = await client.get("/metrics")
        assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        assert parse_strictly(await answer.text())["x"].value() == 1
        for path in ("/", "/members", "/token", "/ping"):
            assert (await client.get(path)).status == 404
        assert (await client.post("/metrics", data=b"x")).status == 405
    await server.close()


async def test_a_taken_port_is_named() -> None:
    server = await MetricsServer.listen(lambda: TEXT, host="127.0.0.1", port=0)
    with pytest.raises(ConfigError, match=r"metrics\.listen, metrics\.port: .*Address already in use"):
        await MetricsServer.listen(lambda: TEXT, host="127.0.0.1", port=server.port)
    await server.close()
    with pytest.raises(ConfigError, match=r"metrics\.listen"):
        await MetricsServer.listen(lambda: TEXT, host="no.such.host.invalid", port=0)
